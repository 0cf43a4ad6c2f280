use super::{
    super::{
        facts::{Facts, Feature, Hash, Holder, Host, Link, Queues, Rss, Task},
        finding::{Fix, Verdict},
    },
    *,
};

/// A random key.
const KEY: [u8; 40] = [
    0x3b, 0x91, 0x5e, 0x07, 0xd4, 0x68, 0xaf, 0x22, 0xc9, 0x70, 0x1d, 0xe6, 0x8b, 0x54, 0x39, 0xf2,
    0x06, 0xbd, 0x73, 0x48, 0xea, 0x15, 0x9c, 0x2f, 0xd1, 0x86, 0x5b, 0x30, 0xc7, 0x0e, 0x64, 0xa9,
    0xf8, 0x13, 0x7d, 0x42, 0xbe, 0x95, 0x2a, 0xdf,
];

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
        rss: Some(Rss { table: [0, 1, 2, 3].repeat(32), key: KEY.to_vec(), hash: Hash::default() }),
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
        random: vec![0xa7; 256],
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
fn a_key_by_which_flows_reach_few_queues_is_replaced() {
    let with = |change: fn(&mut Rss)| wrong(|link, _, _| change(link.rss.as_mut().unwrap()));
    let fix = format!("ethtool -X eth1 hkey a7{}", ":a7".repeat(39));
    only(&with(|rss| rss.key = vec![0; 40]), "rss-key", Verdict::Warning, &fix);
    only(&with(|rss| rss.key = vec![0xff; 40]), "rss-key", Verdict::Warning, &fix);
    // Longer than what IPv4 needs, as `ethtool` wants it whole.
    let fix = format!("ethtool -X eth1 hkey a7{}", ":a7".repeat(51));
    only(&with(|rss| rss.key = vec![0; 52]), "rss-key", Verdict::Warning, &fix);
    // The key that makes both directions of a flow hash alike spreads well, unless the NIC does that too.
    assert_eq!(with(|rss| rss.key = [0x6d, 0x5a].repeat(20)), []);
    let found = with(|rss| {
        rss.key = [0x6d, 0x5a].repeat(20);
        rss.hash = Hash::Toeplitz { symmetric: true };
    });
    assert_eq!((found.len(), found[0].0.as_str()), (1, "rss-key"));
    // A table that has few queues is spread over as far as it goes.
    assert_eq!(found[0].1, Verdict::Warning);
    assert_eq!(with(|rss| rss.table = vec![2; 128]), []);
}

#[test]
fn what_a_useless_key_reaches_is_said_and_can_be_taken_back() {
    let (mut facts, wanted) = healthy();
    facts.link.as_mut().unwrap().rss.as_mut().unwrap().key = vec![0; 40];
    let findings = examine(&facts, &wanted);
    let finding = findings.iter().find(|finding| finding.check == "rss-key").unwrap();
    let found = "40 bytes, 00 repeated: flows to 192.0.2.1 reach queue 0 only, of 0, 1, 2, 3";
    assert_eq!(finding.found, found);
    let Some(Fix::Safe { undo, .. }) = &finding.fix else { panic!("{finding:?}") };
    assert_eq!(undo[0].to_string(), format!("ethtool -X eth1 hkey 00{}", ":00".repeat(39)));
}

#[test]
fn a_key_that_nobody_tells_is_noted_where_it_matters() {
    let with = |change: fn(&mut Link)| wrong(|link, _, _| change(link));
    only(&with(|link| link.rss.as_mut().unwrap().key.clear()), "rss-key", Verdict::Note, "");
    only(&with(|link| link.rss = None), "rss-key", Verdict::Note, "");
    // Virtual interfaces, single queues and other hashes have none: calmly.
    for (change, words) in [
        (
            (|link: &mut Link| {
                link.rss = None;
                link.interrupts.clear();
                link.driver = "veth".to_owned();
            }) as fn(&mut Link),
            "not applicable: driver veth has no RSS",
        ),
        (
            |link| link.queues = Queues { receive: 1, transmit: 1, most: 8, combined: true },
            "not applicable: there is one queue",
        ),
        (
            |link| link.rss.as_mut().unwrap().hash = Hash::Other,
            "not applicable: the hash is not Toeplitz'",
        ),
    ] {
        let (mut facts, wanted) = healthy();
        change(facts.link.as_mut().unwrap());
        let findings = examine(&facts, &wanted);
        let finding = findings.iter().find(|finding| finding.check == "rss-key").unwrap();
        assert_eq!((finding.verdict, finding.found.as_str()), (Verdict::Good, words));
    }
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
    let found = wrong(|link, _, _| {
        link.program = Some(("native".to_owned(), "firewall".to_owned()));
        link.program_holder = Some(Holder { link: 17, process: 4711, name: "wall".to_owned() });
    });
    only(&found, "xdp-program", Verdict::Fault, "bpftool link detach id 17");
    let found = wrong(|link, _, _| link.bound_queues = vec![1, 7]);
    assert_eq!((found[0].0.as_str(), found[0].1), ("bound-queues", Verdict::Fault));
    let found = wrong(|_, host, _| host.listeners = vec!["[::]:80".parse().unwrap()]);
    assert_eq!((found[0].0.as_str(), found[0].1), ("port", Verdict::Warning));
    let found = wrong(|_, host, _| host.listeners = vec!["203.0.113.1:80".parse().unwrap()]);
    assert_eq!(found, []);
    let found = wrong(|link, _, _| link.master = Some("br0".to_owned()));
    only(&found, "master", Verdict::Warning, "ip link set dev eth1 nomaster");
}
