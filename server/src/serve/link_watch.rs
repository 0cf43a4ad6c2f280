//! What successive views of an interface mean to the server on it: what is said once, and what is to be done.

use std::net::IpAddr;

use pagewire_stack::NetworkView;

/// Something that has happened to the interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Happening {
    /// It is there and carries nothing.
    Down,
    /// It carries frames again.
    Up,
    /// It is gone, or another has its name: queues and program are dead.
    Lost,
    /// A served address is the kernel's as well now, or not any more.
    Owner {
        /// The address.
        address: IpAddr,
        /// Whether nobody but pagewire has it.
        alone: bool,
    },
}

/// What was last seen of an interface.
#[derive(Clone, Debug)]
pub(super) struct LinkWatch {
    index: u32,
    is_up: bool,
    is_lost: bool,
    /// Served addresses, and whether nobody else has them.
    served: Vec<(IpAddr, bool)>,
}

impl LinkWatch {
    /// The interface as it was in `view`, with the addresses `served` on it.
    pub(super) fn new(view: &NetworkView, served: Vec<(IpAddr, bool)>) -> Self {
        Self { index: view.link.index, is_up: view.link.up, is_lost: false, served }
    }

    /// The interface's number.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Whether it cannot be served on any more.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Whatever happens to it from now on does not matter.
    pub(super) fn lose(&mut self) {
        self.is_lost = true;
    }

    /// What has happened between the last view and this one.
    pub(super) fn see(&mut self, view: &NetworkView) -> Vec<Happening> {
        if self.is_lost {
            return Vec::new();
        }
        if view.link.index != self.index {
            self.is_lost = true;
            return vec![Happening::Lost];
        }
        let mut happenings = Vec::new();
        if view.link.up != self.is_up {
            self.is_up = view.link.up;
            happenings.push(if self.is_up { Happening::Up } else { Happening::Down });
        }
        for (address, alone) in &mut self.served {
            let is_kernels = view.addresses.iter().any(|prefix| prefix.address() == *address);
            if *alone == is_kernels {
                *alone = !is_kernels;
                happenings.push(Happening::Owner { address: *address, alone: *alone });
            }
        }
        happenings
    }
}

#[cfg(test)]
mod tests {
    use pagewire_stack::{Link, Prefix};

    use super::*;

    fn view(index: u32, up: bool, addresses: &[&str]) -> NetworkView {
        let prefix = |text: &&str| Prefix::new(text.parse().unwrap(), 24).unwrap();
        NetworkView {
            link: Link { index, up, ..Link::default() },
            addresses: addresses.iter().map(prefix).collect(),
            ..NetworkView::default()
        }
    }

    #[test]
    fn each_change_is_told_once() {
        let [first, second] = ["10.0.0.1", "10.0.0.2"];
        let served = vec![(first.parse().unwrap(), false), (second.parse().unwrap(), true)];
        let mut watch = LinkWatch::new(&view(7, true, &[first]), served);
        assert_eq!(watch.see(&view(7, true, &[first])), []);
        assert_eq!(watch.see(&view(7, false, &[first])), [Happening::Down]);
        assert_eq!(watch.see(&view(7, false, &[first])), []);
        assert_eq!(watch.see(&view(7, true, &[first])), [Happening::Up]);
        let owner = |text: &str, alone| Happening::Owner { address: text.parse().unwrap(), alone };
        assert_eq!(
            watch.see(&view(7, true, &[second])),
            [owner(first, true), owner(second, false)]
        );
        assert_eq!(watch.see(&view(0, false, &[])), [Happening::Lost]);
        assert_eq!(watch.see(&view(9, true, &[first])), [], "whoever starts again sees that");
    }

    #[test]
    fn another_interface_of_the_same_name_is_not_the_same() {
        let mut watch = LinkWatch::new(&view(7, true, &[]), Vec::new());
        assert_eq!(watch.see(&view(8, true, &[])), [Happening::Lost]);
    }
}
