"""Scenario seeds: the uses cannot meet."""

from __future__ import annotations

from itertools import pairwise

from wbench.benchmark import seeds
from wbench.benchmark.data.release import RELEASES, contents
from wbench.benchmark.data.schema import HELD_OUT, TRAIN_FILES
from wbench.benchmark.registry import all_families
from wbench.benchmark.site import RANGES


def test_the_ranges_of_the_uses_cannot_meet():
    spans = sorted((span.start, span.stop) for span in seeds.RANGES.values())
    assert all(stop <= start for (_, stop), (start, _) in pairwise(spans))
    assert {"train", "support", "query", "reference", "practice", "fidelity", "dev", "gym"} <= seeds.RANGES.keys()
    assert all(seed in seeds.RANGES["support"] for seed in seeds.support_seeds(1000))
    assert all(seed in seeds.RANGES["query"] for seed in seeds.query_seeds(1000))
    files = [seeds.train_seeds(index, 1_000_000) for index in range(len(TRAIN_FILES))]
    assert all(first[-1] < second[0] for first, second in pairwise(files))
    assert files[0][0] in seeds.RANGES["train"] and files[-1][-1] in seeds.RANGES["train"]


def test_no_release_leaves_its_ranges_of_seeds_and_sites():
    for family in all_families():
        for release in RELEASES.values():
            for shard in contents(family, release):
                assert shard.sites * shard.episodes <= 1_000_000
                numbers = RANGES["held-out" if shard.quality == HELD_OUT else "train"]
                assert all(number in numbers for number in shard.numbers)
