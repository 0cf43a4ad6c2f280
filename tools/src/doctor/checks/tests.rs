use super::{
    super::{
        facts::{Facts, Feature, Host, Link, Queues, Task},
        finding::Verdict,
    },
    *,
};

/// A machine with a 4-queue NIC and 4 cores where all is well.
fn healthy() -> (Facts, Wanted) {
    let task = |id: usize| Task { id: id as u32 + 30, cores: vec![id] };
    let link = Link {
        is_up: true,
        has_carrier: true,
        mtu: 1_500,
        driver: "ice".to_owned(),
        xdp_features: Some(0x7f),
        queues: Queues { receive: 4, transmit: 4, most: 8, combined: true },
        ring: Some((2_048, 4_096)),
        rss_queues: Some(vec![0, 1, 2, 3]),
        addresses: vec!["192.0.2.1".parse().unwrap()],
        interrupts: (0..4).map(task).collect(),
        numa_node: Some(0),
        adaptive_coalescing: Some(false),
        ..Link::default()
    };
    let host = Host {
        kernel: "6.18.5-amd64".to_owned(),
        cores: vec![0, 1, 2, 3],
        numa_cores: vec![(0, vec![0, 1, 2, 3])],
        free_hugepages: 1_024,
        capabilities: u64::MAX,
        mappings: 65_530,
        bpf_jit: Some(1),
        congestion_control: "cubic".to_owned(),
        txrehash: Some(0),
        governors: vec!["performance".to_owned(); 4],
        ..Host::default()
    };
    let wanted =
        Wanted { addresses: vec!["192.0.2.1".parse().unwrap()], port: 80, ..Wanted::default() };
    (Facts { interface: "eth1".to_owned(), link: Some(link), host }, wanted)
}

/// What is not good after `change`, with the lines that put it right.
fn wrong(change: impl FnOnce(&mut Link, &mut Host, &mut Wanted)) -> Vec<(String, Verdict, String)> {
    let (mut facts, mut wanted) = healthy();
    change(facts.link.as_mut().unwrap(), &mut facts.host, &mut wanted);
    examine(&facts, &wanted)
        .into_iter()
        .filter(|finding| finding.verdict != Verdict::Good)
        .map(|finding| {
            assert!(!finding.reason.is_empty(), "{finding:?}");
            let lines = finding.fix.map(|fix| fix.lines().join("; ")).unwrap_or_default();
            (finding.check.to_owned(), finding.verdict, lines)
        })
        .collect()
}

fn only(found: &[(String, Verdict, String)], check: &str, verdict: Verdict, fix: &str) {
    assert_eq!(found, [(check.to_owned(), verdict, fix.to_owned())]);
}

fn feature(name: &str) -> Feature {
    Feature { name: name.to_owned(), is_on: true, is_fixed: false }
}

#[test]
fn a_healthy_machine_has_nothing_wrong() {
    assert_eq!(wrong(|_, _, _| ()), []);
}

#[test]
fn an_interface_that_is_not_there_is_all_there_is_to_say() {
    let facts = Facts { interface: "eth9".to_owned(), ..Facts::default() };
    let findings = examine(&facts, &Wanted::default());
    assert_eq!((findings.len(), findings[0].check), (1, "interface"));
}

#[test]
fn queues_that_are_not_there_are_made_if_the_driver_can() {
    let found = wrong(|_, _, wanted| wanted.queues = Some((0..6).collect()));
    assert_eq!(found[0].2, "ethtool -L eth1 combined 6");
    let found = wrong(|_, _, wanted| wanted.queues = Some(vec![0, 1, 2, 9]));
    assert_eq!(found[0].2, "choose from --queues 0-3");
}

#[test]
fn rss_beyond_the_served_queues_is_a_fault() {
    let found = wrong(|_, host, wanted| {
        wanted.queues = Some(vec![0, 1]);
        host.cores = vec![0, 1];
        wanted.cores = Some(vec![0, 1]);
    });
    let rss = found.iter().find(|(check, ..)| check == "rss").unwrap();
    assert_eq!((rss.1, rss.2.as_str()), (Verdict::Fault, "ethtool -X eth1 equal 2"));
}

#[test]
fn offloads_that_join_or_strip_frames_are_named() {
    let found = wrong(|link, _, _| link.features.push(feature("large-receive-offload")));
    only(&found, "lro", Verdict::Fault, "ethtool -K eth1 lro off");
    let found = wrong(|link, _, _| link.features.push(feature("rx-gro-hw")));
    only(&found, "lro", Verdict::Fault, "ethtool -K eth1 rx-gro-hw off");
    let found = wrong(|link, _, _| link.features.push(feature("rx-vlan-offload")));
    only(&found, "vlan", Verdict::Note, "ethtool -K eth1 rxvlan off");
    let found = wrong(|link, _, _| {
        link.xdp_features = Some(0);
        link.features.push(feature("generic-receive-offload"));
    });
    assert_eq!(
        found.iter().map(|found| found.0.as_str()).collect::<Vec<_>>(),
        ["xdp-support", "segmentation"]
    );
}

#[test]
fn rings_and_coalescing_are_set_and_can_be_set_back() {
    let found = wrong(|link, _, _| link.ring = Some((256, 4_096)));
    only(&found, "ring", Verdict::Warning, "ethtool -G eth1 rx 4096");
    let found = wrong(|link, _, _| link.adaptive_coalescing = Some(true));
    only(&found, "coalescing", Verdict::Note, "ethtool -C eth1 adaptive-rx off");
}

#[test]
fn interrupts_go_to_the_cores_of_their_shards() {
    let found = wrong(|link, _, _| link.interrupts[2].cores = vec![0, 1, 2, 3]);
    only(&found, "interrupts", Verdict::Warning, "echo 2 >/proc/irq/32/smp_affinity_list");
    let found = wrong(|_, host, _| host.irqbalance = true);
    only(&found, "irqbalance", Verdict::Warning, "systemctl stop irqbalance");
}

#[test]
fn cores_are_near_awake_and_allowed() {
    let found = wrong(|_, host, _| host.numa_cores = vec![(0, vec![0, 1]), (1, vec![2, 3])]);
    only(&found, "numa", Verdict::Warning, "--cores 0,1");
    let found = wrong(|_, host, _| host.governors[1] = "powersave".to_owned());
    let fix = "echo performance >/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor";
    only(&found, "governor", Verdict::Note, fix);
    let found = wrong(|_, _, wanted| wanted.cores = Some(vec![0, 1, 2, 9]));
    assert_eq!(found[0].0, "core-set");
}

#[test]
fn old_kernels_and_missing_privileges_are_faults() {
    let found = wrong(|_, host, _| host.kernel = "5.4.0-generic".to_owned());
    assert_eq!((found[0].0.as_str(), found[0].1), ("kernel", Verdict::Fault));
    let found = wrong(|_, host, _| host.capabilities = 1 << 12 | 1 << 21);
    assert_eq!(found[0].0, "capabilities");
    let found = wrong(|_, host, _| {
        host.capabilities &= !(1 << 14);
        host.memlock = Some(8 << 20);
    });
    assert_eq!((found[0].0.as_str(), found[0].1), ("memlock", Verdict::Fault));
    let found = wrong(|_, host, _| host.descriptors = Some(1_024));
    assert_eq!(found[0].0, "descriptors");
    let found = wrong(|_, host, _| host.mappings = 1_000);
    only(&found, "mappings", Verdict::Warning, "echo 262144 >/proc/sys/vm/max_map_count");
    let found = wrong(|_, host, _| host.bpf_jit = Some(0));
    only(&found, "bpf-jit", Verdict::Warning, "echo 1 >/proc/sys/net/core/bpf_jit_enable");
    let found = wrong(|_, host, _| host.free_hugepages = 0);
    only(&found, "hugepages", Verdict::Note, "echo 128 >/proc/sys/vm/nr_hugepages");
}

#[test]
fn whoever_has_the_interface_or_the_port_already_is_named() {
    let found = wrong(|link, _, _| {
        link.program = Some(("native".to_owned(), "firewall".to_owned()));
    });
    only(&found, "xdp-program", Verdict::Fault, "ip link set dev eth1 xdpdrv off");
    let found = wrong(|link, _, _| link.bound_queues = vec![1, 7]);
    assert_eq!((found[0].0.as_str(), found[0].1), ("bound-queues", Verdict::Fault));
    let found = wrong(|_, host, _| host.listeners = vec!["[::]:80".parse().unwrap()]);
    assert_eq!((found[0].0.as_str(), found[0].1), ("port", Verdict::Warning));
    let found = wrong(|_, host, _| host.listeners = vec!["203.0.113.1:80".parse().unwrap()]);
    assert_eq!(found, []);
    let found = wrong(|link, _, _| link.master = Some("br0".to_owned()));
    only(&found, "master", Verdict::Warning, "ip link set dev eth1 nomaster");
}
