//! What runs beside the data path: the control thread's view of the kernel.

pub mod netlink;
