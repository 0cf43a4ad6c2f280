// SPDX-License-Identifier: MIT OR Apache-2.0
// Counts the system calls and the context switches of one control group, processes that end included.

typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int(*name)[value]
#define __type(name, type) type *name

// Of linux/bpf.h, so that no kernel headers are needed.
enum { BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_PERCPU_ARRAY = 6 };
static void *(*const map_lookup_elem)(void *map, const void *key) = (void *)1;
static u64 (*const get_current_cgroup_id)(void) = (void *)80;

enum { SYSTEM_CALLS, SWITCHES, COUNTS };

// The control group's id.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} target SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, u32);
	__type(value, u64);
} counts SEC(".maps");

static inline __attribute__((always_inline)) int count(u32 what)
{
	u32 zero = 0;
	u64 *group = map_lookup_elem(&target, &zero);
	if (!group || *group != get_current_cgroup_id())
		return 0;
	u64 *counter = map_lookup_elem(&counts, &what);
	if (counter)
		*counter += 1;
	return 0;
}

SEC("raw_tracepoint/sys_enter")
int sys_enter(void *context)
{
	(void)context;
	return count(SYSTEM_CALLS);
}

// The current task is still the one that is switched from.
SEC("raw_tracepoint/sched_switch")
int sched_switch(void *context)
{
	(void)context;
	return count(SWITCHES);
}

char LICENSE[] SEC("license") = "MIT";
