// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Decides for each received frame whether it goes to the AF_XDP socket of the queue it arrived on or
// stays with the kernel. Needs clang only: no kernel, libc or libbpf headers.
//
// To the socket: TCP to a served address and port, and ICMP errors that quote a packet sent from
// there. For an address that nobody else owns also its ARP and NDP, all its TCP (other ports are
// answered with a reset) and all its ICMP; what else is sent to such an address is dropped, since the
// kernel could only forward it back to the link. Everything else stays with the kernel, as does
// everything of a queue that has no socket.
//
// Of all that would go to a socket, what comes from a denied source is dropped here, but for ARP and
// NDP: who is denied may still be a router on the link.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// include/uapi/linux/bpf.h

struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

enum { XDP_DROP = 1, XDP_PASS = 2 };
enum { MAP_HASH = 1, MAP_PERCPU_ARRAY = 6, MAP_LPM_TRIE = 11, MAP_XSKMAP = 17 };
enum { NO_PREALLOCATION = 1 };

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const redirect_map)(void *map, u64 key, u64 action_if_absent) = (void *)51;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define MAP_NUMBER(name, value) int(*name)[value]
#define MAP_TYPE(name, value) value *name

#define BIG_ENDIAN_16(value) __builtin_bswap16(value)

enum {
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_ARP = 0x0806,
	ETHERTYPE_VLAN = 0x8100,
	ETHERTYPE_SERVICE_VLAN = 0x88a8,
	ETHERTYPE_IPV6 = 0x86dd,
};

enum {
	PROTOCOL_HOP_BY_HOP = 0,
	PROTOCOL_ICMP = 1,
	PROTOCOL_TCP = 6,
	PROTOCOL_FRAGMENT = 44,
	PROTOCOL_ICMPV6 = 58,
	PROTOCOL_DESTINATION_OPTIONS = 60,
};

// RFC 792, RFC 4443, RFC 4861
enum {
	ICMP_UNREACHABLE = 3,
	ICMP_TIME_EXCEEDED = 11,
	ICMP_PARAMETER_PROBLEM = 12,
	ICMPV6_LAST_ERROR = 4,
	ICMPV6_NEIGHBOR_SOLICITATION = 135,
};

// More fragments, or an offset.
#define IPV4_FRAGMENT BIG_ENDIAN_16(0x3fff)
#define IPV4_FRAGMENT_OFFSET BIG_ENDIAN_16(0x1fff)

// IPv6 extension headers that are skipped at most.
#define EXTENSIONS 4

struct ethernet {
	u8 destination[6], source[6];
	u16 type;
};

struct vlan {
	u16 tag, type;
};

// For IPv4 over Ethernet. Addresses in halves, since they lie at odd multiples of two.
struct arp {
	u16 hardware, protocol;
	u8 hardware_len, protocol_len;
	u16 operation;
	u8 sender_mac[6];
	u16 sender[2];
	u8 target_mac[6];
	u16 target[2];
};

struct ipv4 {
	u8 version_and_len, service;
	u16 len, id, fragment;
	u8 ttl, protocol;
	u16 checksum;
	u32 source, destination;
};

struct ipv6 {
	u32 version_class_flow;
	u16 len;
	u8 next, hop_limit;
	u32 source[4], destination[4];
};

struct extension {
	u8 next, len_in_eights_less_one;
	u8 rest[6];
};

struct ports {
	u16 source, destination;
};

struct icmp {
	u8 type, code;
	u16 checksum;
	u32 rest;
};

// Maps. Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d.

struct address {
	u32 words[4];
};

struct endpoint {
	struct address address;
	u16 port; // in network order
	u16 zero;
};

// The sockets, by queue.
struct {
	MAP_NUMBER(type, MAP_XSKMAP);
	MAP_NUMBER(max_entries, 1024);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} SOCKETS SECTION(".maps");

// Served addresses and ports. The value means nothing.
struct {
	MAP_NUMBER(type, MAP_HASH);
	MAP_NUMBER(max_entries, 1024);
	MAP_TYPE(key, struct endpoint);
	MAP_TYPE(value, u32);
} SERVED SECTION(".maps");

// Addresses that nobody else owns. The value means nothing.
struct {
	MAP_NUMBER(type, MAP_HASH);
	MAP_NUMBER(max_entries, 1024);
	MAP_TYPE(key, struct address);
	MAP_TYPE(value, u32);
} OWNED SECTION(".maps");

// Denied sources, by prefix. Zero: not denied, whatever is said of a shorter prefix.
struct prefix {
	u32 bits;
	struct address address;
};

struct {
	MAP_NUMBER(type, MAP_LPM_TRIE);
	MAP_NUMBER(max_entries, 65536);
	MAP_NUMBER(map_flags, NO_PREALLOCATION);
	MAP_TYPE(key, struct prefix);
	MAP_TYPE(value, u32);
} DENIED_SOURCES SECTION(".maps");

// Why a frame went where it went; `Cause` in cause.rs.
enum cause {
	PASSED,
	SERVED_TCP,
	QUOTED,
	NEIGHBOR,
	OTHER_TCP,
	OWNED_ICMP,
	FRAGMENT,
	NOT_SERVED,
	NO_SOCKET,
	DENIED,
	CAUSES,
};

struct {
	MAP_NUMBER(type, MAP_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, CAUSES);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} COUNTERS SECTION(".maps");

INLINE void count(u32 cause)
{
	u64 *counter = map_lookup(&COUNTERS, &cause);

	if (counter)
		*counter += 1;
}

INLINE int is_served(const struct address *address, u16 port)
{
	struct endpoint endpoint = { .address = *address, .port = port };

	return map_lookup(&SERVED, &endpoint) != 0;
}

INLINE int is_owned(const struct address *address)
{
	return map_lookup(&OWNED, address) != 0;
}

INLINE enum cause unless_denied(enum cause cause, const struct address *from)
{
	if (cause == PASSED || cause == NEIGHBOR)
		return cause;
	struct prefix prefix = { .bits = 128, .address = *from };
	u32 *is_denied = map_lookup(&DENIED_SOURCES, &prefix);
	return is_denied && *is_denied ? DENIED : cause;
}

INLINE struct address from_ipv4(u32 address)
{
	return (struct address){ { 0, 0, __builtin_bswap32(0x0000ffff), address } };
}

INLINE struct address from_ipv6(const u32 *words)
{
	return (struct address){ { words[0], words[1], words[2], words[3] } };
}

INLINE enum cause arp(u8 *packet, u8 *end)
{
	struct arp *arp = (void *)packet;

	if (packet + sizeof(*arp) > end || arp->protocol != BIG_ENDIAN_16(ETHERTYPE_IPV4))
		return PASSED;
	// Requests for the address, and replies to those that came from it.
	struct address target = from_ipv4(arp->target[0] | (u32)arp->target[1] << 16);
	return is_owned(&target) ? NEIGHBOR : PASSED;
}

INLINE enum cause tcp(u8 *packet, u8 *end, const struct address *to)
{
	struct ports *ports = (void *)packet;

	if (packet + sizeof(*ports) <= end && is_served(to, ports->destination))
		return SERVED_TCP;
	return is_owned(to) ? OTHER_TCP : PASSED;
}

// An IPv4 header, followed by at least the ports, that was sent from where it is reported to.
INLINE int quotes_served_ipv4(u8 *packet, u8 *end, const struct address *to)
{
	struct ipv4 *ip = (void *)packet;

	if (packet + sizeof(*ip) > end || ip->protocol != PROTOCOL_TCP ||
	    (ip->fragment & IPV4_FRAGMENT_OFFSET) || ip->source != to->words[3])
		return 0;
	u32 header = (ip->version_and_len & 0x0f) * 4;
	struct ports *ports = (void *)(packet + header);
	if (header < sizeof(*ip) || (u8 *)(ports + 1) > end)
		return 0;
	return is_served(to, ports->source);
}

INLINE enum cause icmp(u8 *packet, u8 *end, const struct address *to)
{
	struct icmp *icmp = (void *)packet;

	if (packet + sizeof(*icmp) <= end &&
	    (icmp->type == ICMP_UNREACHABLE || icmp->type == ICMP_TIME_EXCEEDED ||
	     icmp->type == ICMP_PARAMETER_PROBLEM) &&
	    quotes_served_ipv4(packet + sizeof(*icmp), end, to))
		return QUOTED;
	return is_owned(to) ? OWNED_ICMP : PASSED;
}

INLINE enum cause of_ipv4(struct ipv4 *ip, u8 *packet, u8 *end)
{
	u32 header = (ip->version_and_len & 0x0f) * 4;
	if (ip->version_and_len >> 4 != 4 || header < sizeof(*ip))
		return PASSED;
	struct address to = from_ipv4(ip->destination);
	if (ip->fragment & IPV4_FRAGMENT)
		return is_owned(&to) ? FRAGMENT : PASSED;
	if (ip->protocol == PROTOCOL_TCP)
		return tcp(packet + header, end, &to);
	if (ip->protocol == PROTOCOL_ICMP)
		return icmp(packet + header, end, &to);
	return is_owned(&to) ? NOT_SERVED : PASSED;
}

INLINE enum cause ipv4(u8 *packet, u8 *end)
{
	struct ipv4 *ip = (void *)packet;

	if (packet + sizeof(*ip) > end)
		return PASSED;
	struct address from = from_ipv4(ip->source);
	return unless_denied(of_ipv4(ip, packet, end), &from);
}

INLINE int quotes_served_ipv6(u8 *packet, u8 *end, const struct address *to)
{
	struct ipv6 *ip = (void *)packet;
	struct ports *ports = (void *)(packet + sizeof(*ip));

	// What the stack sends has no extension headers.
	if ((u8 *)(ports + 1) > end || ip->next != PROTOCOL_TCP ||
	    ip->source[0] != to->words[0] || ip->source[1] != to->words[1] ||
	    ip->source[2] != to->words[2] || ip->source[3] != to->words[3])
		return 0;
	return is_served(to, ports->source);
}

INLINE enum cause icmpv6(u8 *packet, u8 *end, const struct address *to)
{
	struct icmp *icmp = (void *)packet;
	u8 *body = packet + sizeof(*icmp);

	if (body > end)
		return is_owned(to) ? OWNED_ICMP : PASSED;
	if (icmp->type == ICMPV6_NEIGHBOR_SOLICITATION && body + sizeof(struct address) <= end) {
		// Sent to the address itself or to the multicast group that belongs to it.
		struct address target = from_ipv6((u32 *)body);
		if (is_owned(&target))
			return NEIGHBOR;
	}
	if (icmp->type && icmp->type <= ICMPV6_LAST_ERROR && quotes_served_ipv6(body, end, to))
		return QUOTED;
	return is_owned(to) ? OWNED_ICMP : PASSED;
}

INLINE enum cause of_ipv6(struct ipv6 *ip, u8 *end)
{
	u8 *next = (u8 *)(ip + 1);
	struct address to = from_ipv6(ip->destination);
	u8 protocol = ip->next;
	for (int i = 0; i < EXTENSIONS; i++) {
		struct extension *extension = (void *)next;
		if (protocol != PROTOCOL_HOP_BY_HOP && protocol != PROTOCOL_DESTINATION_OPTIONS)
			break;
		if ((u8 *)(extension + 1) > end)
			return PASSED;
		protocol = extension->next;
		next += (extension->len_in_eights_less_one + 1) * 8;
	}
	if (protocol == PROTOCOL_TCP)
		return tcp(next, end, &to);
	if (protocol == PROTOCOL_ICMPV6)
		return icmpv6(next, end, &to);
	if (!is_owned(&to))
		return PASSED;
	return protocol == PROTOCOL_FRAGMENT ? FRAGMENT : NOT_SERVED;
}

INLINE enum cause ipv6(u8 *packet, u8 *end)
{
	struct ipv6 *ip = (void *)packet;

	if ((u8 *)(ip + 1) > end || (*packet >> 4) != 6)
		return PASSED;
	struct address from = from_ipv6(ip->source);
	return unless_denied(of_ipv6(ip, end), &from);
}

INLINE enum cause classify(u8 *packet, u8 *end)
{
	struct ethernet *ethernet = (void *)packet;
	u8 *next = packet + sizeof(*ethernet);

	if (next > end)
		return PASSED;
	u16 type = ethernet->type;
	if (type == BIG_ENDIAN_16(ETHERTYPE_VLAN) || type == BIG_ENDIAN_16(ETHERTYPE_SERVICE_VLAN)) {
		struct vlan *vlan = (void *)next;
		next += sizeof(*vlan);
		if (next > end)
			return PASSED;
		type = vlan->type;
	}
	if (type == BIG_ENDIAN_16(ETHERTYPE_IPV4))
		return ipv4(next, end);
	if (type == BIG_ENDIAN_16(ETHERTYPE_IPV6))
		return ipv6(next, end);
	if (type == BIG_ENDIAN_16(ETHERTYPE_ARP))
		return arp(next, end);
	return PASSED;
}

SECTION("xdp")
int pagewire(struct xdp_md *context)
{
	u8 *packet = (u8 *)(long)context->data, *end = (u8 *)(long)context->data_end;
	enum cause cause = classify(packet, end);

	count(cause);
	if (cause == PASSED)
		return XDP_PASS;
	if (cause == FRAGMENT || cause == NOT_SERVED || cause == DENIED)
		return XDP_DROP;
	int action = redirect_map(&SOCKETS, context->rx_queue_index, XDP_PASS);
	if (action == XDP_PASS)
		count(NO_SOCKET);
	return action;
}

// For what stands in for a wire: every frame to the socket, none to the kernel.
SECTION("xdp")
int pagewire_all(struct xdp_md *context)
{
	return redirect_map(&SOCKETS, context->rx_queue_index, XDP_DROP);
}

char LICENSE[] SECTION("license") = "MIT";
