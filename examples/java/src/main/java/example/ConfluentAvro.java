package example;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import org.apache.avro.Schema;
import org.apache.avro.data.TimeConversions.TimestampMicrosConversion;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.common.serialization.Deserializer;

/**
 * Reads Confluent's wire format (a zero byte, the schema id in four bytes, Avro) with nothing but Apache Avro.
 *
 * <p>With a schema of its own, such as the version that a program was compiled against, each value is read as that: fields
 * that it does not have are left out, those that the writer did not know have their defaults. Without one, each value has
 * the fields that were written.
 */
final class ConfluentAvro implements Deserializer<GenericRecord> {
    private static final int PREFIX_BYTES = 5;
    private static final Duration TIMEOUT = Duration.ofSeconds(10);

    private final HttpClient http = HttpClient.newBuilder().connectTimeout(TIMEOUT).build();
    private final ObjectMapper json = new ObjectMapper();
    private final GenericData data = new GenericData();
    private final Map<Integer, GenericDatumReader<GenericRecord>> readers = new HashMap<>();
    private final String registry;
    private final Optional<Schema> own;

    ConfluentAvro(String registry, Optional<Schema> own) {
        this.registry = registry;
        this.own = own;
        data.addLogicalTypeConversion(new TimestampMicrosConversion());
    }

    @Override
    public GenericRecord deserialize(String topic, byte[] value) {
        if (value == null) {
            return null;
        }
        if (value.length < PREFIX_BYTES || value[0] != 0) {
            throw new IllegalArgumentException(topic + ": not in Confluent's wire format");
        }
        int schemaId = ByteBuffer.wrap(value, 1, Integer.BYTES).getInt();
        try {
            var decoder = DecoderFactory.get().binaryDecoder(value, PREFIX_BYTES, value.length - PREFIX_BYTES, null);
            return readers.computeIfAbsent(schemaId, this::reader).read(null, decoder);
        } catch (IOException error) {
            throw new UncheckedIOException(topic + ": not Avro of schema id " + schemaId, error);
        }
    }

    private GenericDatumReader<GenericRecord> reader(int schemaId) {
        var request = HttpRequest.newBuilder(URI.create(registry + "/schemas/ids/" + schemaId)).timeout(TIMEOUT).build();
        try {
            var answer = http.send(request, BodyHandlers.ofString());
            if (answer.statusCode() != 200) {
                throw new IllegalStateException("schema id " + schemaId + ": the registry answers " + answer.statusCode());
            }
            var schema = new Schema.Parser().parse(json.readTree(answer.body()).get("schema").asText());
            return new GenericDatumReader<>(schema, own.orElse(schema), data);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(error);
        }
    }
}
