//! Counts a rung's system calls and context switches by two small programs in the kernel.
//!
//! Both slow down what they count: so they are attached for a short time after the one that is measured.

use aya::{
    Ebpf,
    maps::{Array, PerCpuArray},
    programs::RawTracePoint,
};
use thiserror::Error;

use super::account::Group;

const PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/count.bpf.o"));

/// The programs, by the name of the tracepoint.
const TRACEPOINTS: [&str; 2] = ["sys_enter", "sched_switch"];

/// Why nothing can be counted.
#[derive(Debug, Error)]
#[error("system calls and context switches are not counted, which needs root: {0}")]
pub struct CannotCount(String);

impl CannotCount {
    fn new(error: impl std::error::Error) -> Self {
        Self(error.to_string())
    }
}

/// How often something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// System calls.
    pub system_calls: u64,
    /// Context switches, wanted and unwanted.
    pub switches: u64,
}

/// The programs, loaded.
#[derive(Debug)]
pub struct Counter {
    bpf: Ebpf,
}

impl Counter {
    /// Loads the programs.
    pub fn load() -> Result<Self, CannotCount> {
        let mut bpf = Ebpf::load(PROGRAM).map_err(CannotCount::new)?;
        for name in TRACEPOINTS {
            program(&mut bpf, name)?.load().map_err(CannotCount::new)?;
        }
        Ok(Self { bpf })
    }

    /// Counts what `group` does during `work`.
    pub fn count<T>(
        &mut self,
        group: &Group,
        work: impl FnOnce() -> T,
    ) -> Result<(T, Counts), CannotCount> {
        let id = group.id().map_err(CannotCount::new)?;
        let map = self.bpf.map_mut("target").ok_or_else(missing)?;
        let mut target: Array<_, u64> = Array::try_from(map).map_err(CannotCount::new)?;
        target.set(0, id, 0).map_err(CannotCount::new)?;
        let mut links = Vec::new();
        for name in TRACEPOINTS {
            let program = program(&mut self.bpf, name)?;
            let link = program.attach(name).map_err(CannotCount::new)?;
            links.push(program.take_link(link).map_err(CannotCount::new)?);
        }
        let before = self.read()?;
        let result = work();
        let after = self.read()?;
        drop(links);
        let counts = Counts {
            system_calls: after.system_calls - before.system_calls,
            switches: after.switches - before.switches,
        };
        Ok((result, counts))
    }

    fn read(&self) -> Result<Counts, CannotCount> {
        let map = self.bpf.map("counts").ok_or_else(missing)?;
        let counts: PerCpuArray<_, u64> = PerCpuArray::try_from(map).map_err(CannotCount::new)?;
        let sum = |index| -> Result<u64, CannotCount> {
            Ok(counts.get(&index, 0).map_err(CannotCount::new)?.iter().sum())
        };
        Ok(Counts { system_calls: sum(0)?, switches: sum(1)? })
    }
}

fn program<'a>(bpf: &'a mut Ebpf, name: &str) -> Result<&'a mut RawTracePoint, CannotCount> {
    bpf.program_mut(name).ok_or_else(missing)?.try_into().map_err(CannotCount::new)
}

fn missing() -> CannotCount {
    CannotCount("the object file is not the one that it was built with".to_owned())
}
