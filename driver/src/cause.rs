//! Why frames went where they went, and how many.

/// Why a frame went where it went. In the order of `enum cause` in the program.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// None of our business: to the kernel.
    Passed,
    /// TCP to a served address and port: to the queue.
    ServedTcp,
    /// An ICMP error that quotes a packet from a served address and port: to the queue.
    Quoted,
    /// ARP or NDP for an address owned alone: to the queue.
    Neighbor,
    /// TCP to another port of an address owned alone: to the queue.
    OtherTcp,
    /// Other ICMP to an address owned alone: to the queue.
    OwnedIcmp,
    /// A fragment to an address owned alone: dropped.
    Fragment,
    /// Another protocol to an address owned alone: dropped.
    NotServed,
    /// Counted besides one of those above: the queue has no socket, so the frame went to the kernel.
    NoSocket,
    /// Would have gone to the queue, but its source is denied: dropped.
    Denied,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 10] = [
        Self::Passed,
        Self::ServedTcp,
        Self::Quoted,
        Self::Neighbor,
        Self::OtherTcp,
        Self::OwnedIcmp,
        Self::Fragment,
        Self::NotServed,
        Self::NoSocket,
        Self::Denied,
    ];

    /// A short name, for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::ServedTcp => "served_tcp",
            Self::Quoted => "quoted",
            Self::Neighbor => "neighbor",
            Self::OtherTcp => "other_tcp",
            Self::OwnedIcmp => "owned_icmp",
            Self::Fragment => "fragment",
            Self::NotServed => "not_served",
            Self::NoSocket => "no_socket",
            Self::Denied => "denied",
        }
    }
}

/// Frames by [`Cause`], of all CPUs together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SteeringCounters {
    pub(crate) counts: [u64; Cause::ALL.len()],
}

impl SteeringCounters {
    /// How many frames had this cause.
    #[must_use]
    pub const fn of(&self, cause: Cause) -> u64 {
        self.counts[cause as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_numbered_in_order_and_named_apart() {
        for (number, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, number);
        }
        let mut names = Cause::ALL.map(Cause::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Cause::ALL.len());
    }
}
