package example;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Prints each status change as a line of JSON. */
public final class FollowStatusChanges {
    private static final Duration POLL = Duration.ofSeconds(1);
    private static final int REMEMBERED = 100_000;

    private FollowStatusChanges() {}

    public static void main(String[] arguments) throws IOException {
        var environment = System.getenv();
        var registry = environment.getOrDefault("SCHEMA_REGISTRY_URL", "http://127.0.0.1:14001/apis/ccompat/v7");
        var topic = environment.getOrDefault("TOPIC_PREFIX", "openbsp.") + "status-changes";
        var untilEnd = environment.containsKey("UNTIL_END");
        Map<String, Object> config = Map.of(
                "bootstrap.servers", environment.getOrDefault("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:14000"),
                "group.id", environment.getOrDefault("GROUP_ID", "status-changes-java"),
                "auto.offset.reset", "earliest",
                "enable.auto.commit", false);

        Optional<Schema> own = Optional.empty();
        if (environment.containsKey("READER_SCHEMA")) {
            own = Optional.of(new Schema.Parser().parse(Files.readString(Path.of(environment.get("READER_SCHEMA")))));
        }
        var deserializer = new ConfluentAvro(registry, own);

        Set<String> seen = Collections.newSetFromMap(new LinkedHashMap<String, Boolean>() {
            @Override
            protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
                return size() > REMEMBERED;
            }
        });
        try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), deserializer)) {
            consumer.subscribe(List.of(topic));
            do {
                for (var message : consumer.poll(POLL)) {
                    // Delivery is at least once; the same event has the same ce_id whenever it comes.
                    var eventId = new String(message.headers().lastHeader("ce_id").value(), StandardCharsets.UTF_8);
                    if (seen.add(eventId)) {
                        print(message.value());
                    }
                }
                consumer.commitSync();
            } while (!untilEnd || !atEnd(consumer));
        }
    }

    private static void print(GenericRecord change) throws IOException {
        var shown = new LinkedHashMap<String, Object>();
        for (var name : List.of("id", "message_id", "conversation_id", "status", "at")) {
            shown.put(name, change.get(name).toString());
        }
        // Older versions of the schema have no such field.
        if (change.hasField("errors") && change.get("errors") != null) {
            shown.put("errors", change.get("errors").toString());
        }
        System.out.println(new ObjectMapper().writeValueAsString(shown));
    }

    private static boolean atEnd(KafkaConsumer<String, GenericRecord> consumer) {
        var ends = consumer.endOffsets(consumer.assignment());
        for (Map.Entry<TopicPartition, Long> end : ends.entrySet()) {
            if (consumer.position(end.getKey()) < end.getValue()) {
                return false;
            }
        }
        return !ends.isEmpty();
    }
}
