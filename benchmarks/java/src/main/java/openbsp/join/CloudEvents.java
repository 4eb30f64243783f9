package openbsp.join;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.time.temporal.ChronoUnit;
import java.util.HexFormat;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;

/** CloudEvents headers of the records that the job writes, and the ids in them. */
final class CloudEvents {

  private static final HexFormat HEX = HexFormat.of();
  private static final DateTimeFormatter TIME =
      DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSSSSSxxx").withZone(ZoneOffset.UTC);
  private static final byte[] VERSION = bytes("1.0");
  private static final byte[] SOURCE = bytes("openbsp-streams");
  private static final byte[] CONTENT_TYPE = bytes("application/avro");

  private CloudEvents() {}

  static Headers headers(String type, String id, String subject, Long micros) {
    RecordHeaders headers = new RecordHeaders();
    headers.add("ce_specversion", VERSION);
    headers.add("ce_id", bytes(id));
    headers.add("ce_source", SOURCE);
    headers.add("ce_type", bytes(type));
    headers.add("ce_subject", bytes(subject));
    Instant time = micros == null ? Instant.now() : Instant.EPOCH.plus(micros, ChronoUnit.MICROS);
    headers.add("ce_time", bytes(TIME.format(time)));
    headers.add("content-type", CONTENT_TYPE);
    return headers;
  }

  /** A UUIDv5: of the bytes of {@code parts} one after the other, the first of which is the name space. */
  static String uuid(MessageDigest sha1, byte[]... parts) {
    for (byte[] part : parts) {
      sha1.update(part);
    }
    byte[] digest = sha1.digest();
    digest[6] = (byte) (digest[6] & 0x0F | 0x50);
    digest[8] = (byte) (digest[8] & 0x3F | 0x80);
    String text = HEX.formatHex(digest, 0, 16);
    return String.join(
        "-",
        text.substring(0, 8),
        text.substring(8, 12),
        text.substring(12, 16),
        text.substring(16, 20),
        text.substring(20));
  }

  static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }
}
