"""Reads metrics by Prometheus' own parser, checks what the conventions ask for, and tells every sample.

In: the text. Out: a line of JSON for each sample. Fails with a sentence for what is wrong.
"""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

text = sys.stdin.read()
names = set()
samples = []
for family in text_string_to_metric_families(text):
    name = family.name + ("_total" if family.type == "counter" else "")
    assert family.name not in names, f"{name} comes in two places"
    names.add(family.name)
    assert family.type in ("counter", "gauge", "histogram"), f"{name} is {family.type}"
    assert family.documentation.strip().endswith("."), f"{name} has no sentence of help"
    assert family.type == "counter" or not family.name.endswith("_total"), f"{name} is no counter"
    buckets = {}
    for sample in family.samples:
        key = (sample.name, tuple(sorted(sample.labels.items())))
        assert key not in samples, f"{key} comes twice"
        samples.append(key)
        assert sample.value >= 0, f"{key} is {sample.value}"
        print(json.dumps({"name": sample.name, "labels": sample.labels, "value": sample.value}))
        if sample.name.endswith("_bucket"):
            place = (sample.labels["shard"], sample.labels["core"])
            buckets.setdefault(place, []).append((float(sample.labels["le"]), sample.value))
        if sample.name.endswith("_count"):
            place = (sample.labels["shard"], sample.labels["core"])
            assert buckets[place][-1] == (float("inf"), sample.value), f"{key}: {buckets[place]}"
    for place, ends in buckets.items():
        assert ends == sorted(ends), f"{name} of {place} has buckets that shrink: {ends}"
assert text.count("# TYPE ") == len(names), "a family has a type and no samples, or two"
