"""Prints every transaction of a region as a line of JSON, whole and in order.

The topic <region>.transaction has an END record for each transaction, in the
order of their commits: it tells how many changes each partition of each table
holds of it. Those stand at the head of these partitions, in order. So the
program takes so many from each, and proves by their headers that they are the
right ones. All partitions must be read by one process.
"""

import argparse
import collections
import itertools
import json
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from avro_records import Decoder, as_json, headers

# How many changes may wait in a partition before it is paused. A larger
# transaction still comes whole: its partitions are read on.
QUEUE = 20_000


class Reader:
    def __init__(self, args):
        self.spine = f"{args.region}.transaction"
        self.prefix = f"{args.region}."
        self.decoder = Decoder(args.registry)
        self.consumer = Consumer({
            "bootstrap.servers": args.brokers,
            "group.id": args.group,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",  # never jump over what retention took
            "enable.auto.commit": False,
        })
        self.ends = collections.deque()  # of the spine: (offset, END record)
        self.queues = {}  # (topic, partition) → deque of messages
        self.paused = set()
        self.taken = {}  # (topic, partition) → offset to go on from
        self.assign(self.topics())

    def topics(self):
        """All topics of the region: its tables' and the spine."""
        found = self.consumer.list_topics(timeout=10).topics
        if self.spine not in found:
            sys.exit(f"there is no topic {self.spine}: start the region's capture first")
        return {name: t.partitions for name, t in found.items() if name == self.spine or name.startswith(self.prefix) and name.count(".") == 2}

    def assign(self, topics):
        """Begins to read partitions: from where the group stands, or from their start."""
        places = [TopicPartition(name, p) for name, partitions in topics.items() for p in partitions if (name, p) not in self.queues]
        for at in self.consumer.committed(places, timeout=10):
            self.queues[at.topic, at.partition] = collections.deque()
            if at.offset < 0:
                at.offset = OFFSET_BEGINNING
            self.consumer.incremental_assign([at])

    def fetch(self):
        for message in self.consumer.consume(1000, timeout=0.5):
            if message.error():
                raise KafkaException(message.error())
            at = message.topic(), message.partition()
            if message.topic() == self.spine:
                self.ends.append((message.offset(), self.decoder.decode(message.value())))
            elif message.value() is not None:  # not the tombstone after a delete
                self.queues[at].append(message)

    def balance(self):
        """Pauses the partitions of which enough waits, but for those that the next transaction lacks."""
        needed = {(p["topic"], p["partition"]) for p in self.ends[0][1]["partitions"]} if self.ends else set()
        for at, queue in self.queues.items():
            full = len(queue) > QUEUE and at not in needed
            if full != (at in self.paused):
                (self.consumer.pause if full else self.consumer.resume)([TopicPartition(*at)])
                (self.paused.add if full else self.paused.discard)(at)

    def ready(self):
        """Yields the transactions that are whole."""
        while self.ends:
            offset, end = self.ends[0]
            counts = {(p["topic"], p["partition"]): p["count"] for p in end["partitions"]}
            if not counts.keys() <= self.queues.keys():
                self.assign(self.topics())  # a table that is new
            if any(len(self.queues[at]) < n for at, n in counts.items()):
                return
            messages = [self.queues[at].popleft() for at, n in counts.items() for _ in range(n)]
            for message in messages:
                stamp = headers(message)
                if (stamp["origin"], int(stamp["seq"])) != (end["origin"], end["seq"]):
                    sys.exit(f"transaction {end['id']} lacks changes in {message.topic()}: something was lost, or offsets were moved")
                self.taken[message.topic(), message.partition()] = message.offset() + 1
            self.ends.popleft()
            self.taken[self.spine, 0] = offset + 1
            if messages:  # else it is a canary, by which Duplex checks itself
                yield end, sorted(map(self.change, messages), key=lambda c: c["order"])

    def change(self, message):
        c = self.decoder.decode(message.value())
        return {
            "order": c["transaction"]["total_order"],
            "table": f"{c['source']['db']}.{c['source']['table']}",
            "op": c["op"],
            "key": self.decoder.decode(message.key()),
            "before": c["before"],
            "after": c["after"],
        }

    def commit(self):
        """Saves where whole transactions end: for all partitions at once."""
        if self.taken:
            self.consumer.commit(offsets=[TopicPartition(*at, offset) for at, offset in self.taken.items()], asynchronous=False)
            self.taken.clear()


def main():
    args = parse_arguments()
    reader = Reader(args)
    left, last = args.max or float("inf"), time.monotonic()
    while left and (not args.idle_exit or time.monotonic() - last < args.idle_exit):
        reader.fetch()
        for end, changes in itertools.islice(reader.ready(), min(left, 1000)):
            print(json.dumps({"id": end["id"], "origin": end["origin"], "seq": end["seq"], "changes": changes}, default=as_json), flush=True)
            left, last = left - 1, time.monotonic()
        reader.commit()
        reader.balance()
    if left and reader.ends:
        sys.exit(f"transaction {reader.ends[0][1]['id']} still lacks changes")
    reader.consumer.close()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", default="127.0.0.1:9092")
    parser.add_argument("--registry", default="http://127.0.0.1:8081")
    parser.add_argument("--region", default="east")
    parser.add_argument("--group", default="python-transactions")
    parser.add_argument("--max", type=int, default=0, help="end after so many transactions")
    parser.add_argument("--idle-exit", type=float, default=0, metavar="SECONDS", help="end when nothing has come for so long")
    return parser.parse_args()


if __name__ == "__main__":
    main()
