#!/bin/sh
# Kafka's own tools, by their classes.
case $(basename "$0") in
kafka-consumer-groups.sh) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
kafka-console-consumer.sh) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
kafka-topics.sh) class=org.apache.kafka.tools.TopicCommand ;;
esac
exec java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' $class "$@"
