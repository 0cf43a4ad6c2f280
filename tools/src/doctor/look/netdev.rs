//! What the kernel's `netdev` family says of an interface (Linux 6.3 and later;
//! Documentation/netlink/specs/netdev.yaml, include/uapi/linux/netdev.h).

use neli::{
    attr::Attribute,
    consts::{nl::NlmF, socket::NlFamily},
    genl::{AttrTypeBuilder, Genlmsghdr, GenlmsghdrBuilder, NlattrBuilder},
    nl::NlPayload,
    router::synchronous::NlRouter,
    types::GenlBuffer,
    utils::Groups,
};

/// `NETDEV_CMD_DEV_GET`.
const GET_DEVICE: u8 = 1;
/// `NETDEV_A_DEV_IFINDEX`.
const DEVICE_INDEX: u16 = 1;
/// `NETDEV_A_DEV_XDP_FEATURES`.
const DEVICE_XDP_FEATURES: u16 = 3;

/// `NETDEV_CMD_QUEUE_GET`.
const GET_QUEUE: u8 = 10;
/// `NETDEV_A_QUEUE_ID`.
const QUEUE_ID: u16 = 1;
/// `NETDEV_A_QUEUE_IFINDEX`.
const QUEUE_INDEX: u16 = 2;
/// `NETDEV_A_QUEUE_TYPE`.
const QUEUE_TYPE: u16 = 3;
/// `NETDEV_QUEUE_TYPE_RX`.
const RECEIVE: u32 = 0;
/// `NETDEV_A_QUEUE_XSK` (Linux 6.15): there if an `AF_XDP` socket has the queue.
const QUEUE_XSK: u16 = 7;

type Message = Genlmsghdr<u8, u16>;

/// What a driver can do with XDP, as bits; nothing where the kernel does not say.
pub(super) fn xdp_features(index: u32) -> Option<u64> {
    let answer = ask(GET_DEVICE, &[(DEVICE_INDEX, index)])?;
    let attributes = answer.attrs().get_attr_handle();
    attributes.get_attribute(DEVICE_XDP_FEATURES)?.get_payload_as::<u64>().ok()
}

/// Whether an `AF_XDP` socket is bound to a queue; no where the kernel does not say.
pub(super) fn is_bound(index: u32, queue: u32) -> bool {
    let which = [(QUEUE_ID, queue), (QUEUE_INDEX, index), (QUEUE_TYPE, RECEIVE)];
    let answer = ask(GET_QUEUE, &which);
    answer.is_some_and(|answer| answer.attrs().get_attr_handle().get_attribute(QUEUE_XSK).is_some())
}

/// Asks about what has these attributes.
fn ask(command: u8, which: &[(u16, u32)]) -> Option<Message> {
    let (router, _) = NlRouter::connect(NlFamily::Generic, None, Groups::empty()).ok()?;
    let family = router.resolve_genl_family("netdev").ok()?;
    let attribute = |&(name, value): &(u16, u32)| {
        let name = AttrTypeBuilder::default().nla_type(name).build().ok()?;
        NlattrBuilder::default().nla_type(name).nla_payload(value).build().ok()
    };
    let attributes = which.iter().map(attribute).collect::<Option<Vec<_>>>()?;
    let question = GenlmsghdrBuilder::<u8, u16>::default()
        .cmd(command)
        .version(1)
        .attrs(attributes.into_iter().collect::<GenlBuffer<_, _>>())
        .build()
        .ok()?;
    let answers =
        router.send::<_, _, u16, Message>(family, NlmF::ACK, NlPayload::Payload(question)).ok()?;
    answers.into_iter().filter_map(Result::ok).find_map(|answer| answer.get_payload().cloned())
}
