"""Prints every change of a region's tables as a line of JSON.

Any number of these may share a consumer group. Changes of one key come in
order. After a restart it goes on from the last commit, so a change may come
twice, and never not at all.
"""

import argparse
import json
import time

from confluent_kafka import Consumer, KafkaException

from avro_records import Decoder, as_json, headers


def main():
    args = parse_arguments()
    decoder = Decoder(args.registry)
    consumer = Consumer({
        "bootstrap.servers": args.brokers,
        "group.id": args.group,
        "isolation.level": "read_committed",  # or what was aborted is seen too
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "topic.metadata.refresh.interval.ms": 5000,  # how soon a new table is found
    })
    consumer.subscribe([f"^{args.region}\\.[^.]+\\.[^.]+"])
    last = time.monotonic()
    while not args.idle_exit or time.monotonic() - last < args.idle_exit:
        messages = consumer.consume(500, timeout=0.5)
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            if message.value() is None:
                continue  # the tombstone after a delete
            if args.own and headers(message)["origin"] != args.region:
                continue  # another region's, which that region's own topics have too
            change = decoder.decode(message.value())
            print(json.dumps({
                "table": f"{change['source']['db']}.{change['source']['table']}",
                "op": change["op"],
                "key": decoder.decode(message.key()),
                "before": change["before"],
                "after": change["after"],
                "transaction": change["transaction"]["id"],
                **headers(message),
            }, default=as_json), flush=True)
        if messages:
            consumer.commit(asynchronous=False)  # after the work is done
            last = time.monotonic()
    consumer.close()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", default="127.0.0.1:9092")
    parser.add_argument("--registry", default="http://127.0.0.1:8081")
    parser.add_argument("--region", default="east")
    parser.add_argument("--group", default="python-changes")
    parser.add_argument("--own", action="store_true", help="leave out what Duplex wrote there for other regions")
    parser.add_argument("--idle-exit", type=float, default=0, metavar="SECONDS", help="end when nothing has come for so long")
    return parser.parse_args()


if __name__ == "__main__":
    main()
