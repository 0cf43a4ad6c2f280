//! From facts to findings. Nothing here asks the system, so every check is tested with facts made up.

#![expect(
    clippy::unnecessary_wraps,
    reason = "all checks have one shape, whether they always have something to say or not"
)]

mod driver;
mod host;
mod link;
mod placement;
mod rss;
mod toeplitz;

#[cfg(test)]
mod tests;

use super::{
    facts::{Facts, Wanted},
    finding::Finding,
};

/// All that there is to say, in the order in which it should be put right.
pub fn examine(facts: &Facts, wanted: &Wanted) -> Vec<Finding> {
    let Some(link) = &facts.link else {
        return vec![link::missing(&facts.interface)];
    };
    let case = Case { name: &facts.interface, link, host: &facts.host, wanted };
    let all = [link::CHECKS, driver::CHECKS, rss::CHECKS, placement::CHECKS, host::CHECKS].concat();
    let mut findings = Vec::new();
    for check in all {
        findings.extend(check(&case));
    }
    findings
}

/// Looks at one thing. Nothing if there is nothing to say.
type Check = fn(&Case<'_>) -> Option<Finding>;

/// What checks look at.
struct Case<'a> {
    /// The interface's name.
    name: &'a str,
    link: &'a super::facts::Link,
    host: &'a super::facts::Host,
    wanted: &'a Wanted,
}

impl Case<'_> {
    /// The queues to serve.
    fn queues(&self) -> Vec<u32> {
        let all = || (0..self.link.queue_count()).collect();
        self.wanted.queues.clone().unwrap_or_else(all)
    }

    /// The cores of the shards.
    fn cores(&self) -> &[usize] {
        self.wanted.cores.as_deref().unwrap_or(&self.host.cores)
    }
}

/// Numbers as people read them: `0, 2, 3`.
fn listed<T: ToString>(numbers: &[T]) -> String {
    numbers.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
