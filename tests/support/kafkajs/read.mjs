// Reads topics from their beginnings to their ends with kafkajs and its schema registry client, as a team on Node would;
// prints each record as a line of JSON: topic, partition, offset, key, ce_id, value.
// Arguments: brokers, registry, then the topics.
import { SchemaRegistry } from "@kafkajs/confluent-schema-registry";
import { Kafka, logLevel } from "kafkajs";

const [brokers, registryUrl, ...topics] = process.argv.slice(2);
const kafka = new Kafka({ brokers: brokers.split(","), logLevel: logLevel.ERROR });
const registry = new SchemaRegistry({ host: registryUrl });

const admin = kafka.admin();
await admin.connect();
const missing = new Map();
for (const topic of topics) {
  for (const { partition, high, low } of await admin.fetchTopicOffsets(topic)) {
    if (high !== low) missing.set(`${topic} ${partition}`, BigInt(high) - 1n);
  }
}
await admin.disconnect();

const consumer = kafka.consumer({ groupId: `kafkajs-${process.pid}-${Date.now()}` });
await consumer.connect();
await consumer.subscribe({ topics, fromBeginning: true });
await new Promise((resolve, reject) => {
  consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
  consumer.run({
    autoCommit: false,
    eachMessage: async ({ topic, partition, message }) => {
      const value = await registry.decode(message.value);
      console.log(
        JSON.stringify({
          topic,
          partition,
          offset: Number(message.offset),
          key: message.key?.toString() ?? null,
          ce_id: message.headers.ce_id.toString(),
          value,
        }),
      );
      const at = `${topic} ${partition}`;
      if (missing.has(at) && BigInt(message.offset) >= missing.get(at)) missing.delete(at);
      if (missing.size === 0) resolve();
    },
  });
  if (missing.size === 0) resolve();
});
await consumer.disconnect();
