//! Which core does what: shards, interrupts, receive threads, memory.

use super::{
    super::{
        facts::Task,
        finding::{
            Action, Finding, Fix,
            Verdict::{Fault, Note, Warning},
        },
    },
    Case, Check, listed,
};

/// In the order in which they are told.
pub(super) const CHECKS: &[Check] = &[cores, interrupts, irqbalance, napi, rps, numa, governor];

fn cores(case: &Case<'_>) -> Option<Finding> {
    let missing: Vec<usize> =
        case.cores().iter().copied().filter(|core| !case.host.cores.contains(core)).collect();
    if missing.is_empty() {
        return Some(Finding::good("core-set", format!("cores {}", listed(case.cores()))));
    }
    let reason = "A shard is pinned to its core, and fails if it may not run there.";
    let found = format!(
        "this process may not run on core {}, only on {}",
        listed(&missing),
        listed(&case.host.cores)
    );
    let advice = "choose other --cores, or widen the cpuset".to_owned();
    Some(Finding::bad("core-set", Fault, found, reason).with(Fix::Advice(advice)))
}

/// The cores of shards that tasks may be run on by the kernel although they serve another one.
fn strays<'a>(case: &Case<'_>, tasks: &'a [Task]) -> Vec<(&'a Task, usize)> {
    let cores = case.cores();
    let wanted = tasks.iter().zip(cores.iter().copied().cycle());
    wanted.filter(|(task, core)| task.cores != [*core]).collect()
}

fn interrupts(case: &Case<'_>) -> Option<Finding> {
    let tasks = &case.link.interrupts;
    if tasks.is_empty() || case.cores().is_empty() {
        return None;
    }
    let strays = strays(case, tasks);
    if strays.is_empty() {
        return Some(Finding::good("interrupts", "each queue's interrupt is on its shard's core"));
    }
    let reason = "The driver's part of receiving runs where the interrupt does; on another core it moves \
                  cache lines between the two with every frame.";
    let path = |task: &Task| format!("/proc/irq/{}/smp_affinity_list", task.id);
    let actions = strays.iter().map(|(task, core)| Action::write(path(task), core)).collect();
    let undo = strays
        .iter()
        .map(|(task, _)| Action::write(path(task), listed(&task.cores).replace(", ", ",")))
        .collect();
    let found =
        format!("{} of {} interrupts are not on their shard's core", strays.len(), tasks.len());
    Some(Finding::bad("interrupts", Warning, found, reason).with(Fix::Safe { actions, undo }))
}

fn irqbalance(case: &Case<'_>) -> Option<Finding> {
    if !case.host.irqbalance || case.link.interrupts.is_empty() {
        return None;
    }
    let reason = "It moves interrupts away again from where they were put.";
    let stop = Action::run("systemctl stop irqbalance");
    Some(
        Finding::bad("irqbalance", Warning, "irqbalance is running", reason)
            .with(Fix::manual(stop)),
    )
}

fn napi(case: &Case<'_>) -> Option<Finding> {
    let tasks = case.link.napi_threads.as_ref()?;
    let strays = strays(case, tasks);
    if strays.is_empty() {
        return Some(Finding::good("napi", "each receive thread is on its shard's core"));
    }
    let reason = "Receive threads without a core of their own wander, and take time from any shard. \
                  Attaching a program makes them anew: place them after the start.";
    let pin = |task: &Task, cores: String| Action::run(&format!("taskset -pc {cores} {}", task.id));
    let actions = strays.iter().map(|(task, core)| pin(task, core.to_string())).collect();
    let undo =
        strays.iter().map(|(task, _)| pin(task, listed(&task.cores).replace(", ", ","))).collect();
    let found = format!(
        "{} of {} receive threads are not on their shard's core",
        strays.len(),
        tasks.len()
    );
    Some(Finding::bad("napi", Warning, found, reason).with(Fix::Safe { actions, undo }))
}

fn rps(case: &Case<'_>) -> Option<Finding> {
    let queues = &case.link.rps_queues;
    if queues.is_empty() {
        return None;
    }
    let reason = "XDP comes before it, so it does nothing for served traffic; what is left to the kernel is \
                  handed to other cores, those of shards perhaps.";
    let path = |queue| format!("/sys/class/net/{}/queues/rx-{queue}/rps_cpus", case.name);
    let actions = queues.iter().map(|queue| Action::write(path(queue), 0)).collect();
    let found = format!("receive packet steering is on for queue {}", listed(queues));
    Some(Finding::bad("rps", Note, found, reason).with(Fix::Manual(actions)))
}

fn numa(case: &Case<'_>) -> Option<Finding> {
    let node = case.link.numa_node?;
    let (_, near) = case.host.numa_cores.iter().find(|(number, _)| *number == node)?;
    let far: Vec<usize> =
        case.cores().iter().copied().filter(|core| !near.contains(core)).collect();
    if far.is_empty() {
        return Some(Finding::good(
            "numa",
            format!("all shards are near the device, on node {node}"),
        ));
    }
    let reason = "Every frame crosses between the sockets of the machine.";
    let usable: Vec<usize> =
        near.iter().copied().filter(|core| case.host.cores.contains(core)).collect();
    let found = format!("the device is on node {node}, core {} is not", listed(&far));
    let advice = format!("--cores {}", listed(&usable).replace(", ", ","));
    Some(Finding::bad("numa", Warning, found, reason).with(Fix::Advice(advice)))
}

fn governor(case: &Case<'_>) -> Option<Finding> {
    let slow = |(core, governor): (usize, &String)| {
        (case.cores().contains(&core) && governor != "performance").then_some(core)
    };
    let cores: Vec<usize> = case.host.governors.iter().enumerate().filter_map(slow).collect();
    if cores.is_empty() {
        return None;
    }
    let reason =
        "A core that sleeps between frames is clocked down, and late when the next one comes.";
    let path = |core: &usize| format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
    let actions = cores.iter().map(|core| Action::write(path(core), "performance")).collect();
    let undo =
        cores.iter().map(|core| Action::write(path(core), &case.host.governors[*core])).collect();
    let found = format!("cores {} save power", listed(&cores));
    Some(Finding::bad("governor", Note, found, reason).with(Fix::Safe { actions, undo }))
}
