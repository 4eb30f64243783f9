package openbsp.join;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Collection;
import java.util.Map;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;

/** Writes Avro binary: the counterpart of Input. */
final class Output {

  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream(1024);
  private BinaryEncoder encoder;

  /** Writes one value into an Output. */
  @FunctionalInterface
  interface Write<T> {
    void to(Output output, T value) throws IOException;
  }

  /** Write one value, with {@code prefix} in front. */
  <T> byte[] write(byte[] prefix, T value, Write<T> write) {
    bytes.reset();
    bytes.writeBytes(prefix);
    encoder = EncoderFactory.get().binaryEncoder(bytes, encoder);
    try {
      write.to(this, value);
      encoder.flush();
    } catch (IOException impossible) {
      throw new UncheckedIOException(impossible);
    }
    return bytes.toByteArray();
  }

  void string(String value) throws IOException {
    encoder.writeString(value);
  }

  void number(long value) throws IOException {
    encoder.writeLong(value);
  }

  void flag(boolean value) throws IOException {
    encoder.writeBoolean(value);
  }

  /** A value of a union of null and something. */
  <T> void optional(T value, Write<T> write) throws IOException {
    encoder.writeIndex(value == null ? 0 : 1);
    if (value != null) {
      write.to(this, value);
    }
  }

  /** A text that may be null. */
  void text(String value) throws IOException {
    encoder.writeIndex(value == null ? 0 : 1);
    if (value != null) {
      encoder.writeString(value);
    }
  }

  /** An instant, or another number, that may be null. */
  void instant(Long value) throws IOException {
    encoder.writeIndex(value == null ? 0 : 1);
    if (value != null) {
      encoder.writeLong(value);
    }
  }

  /** A double that may be null. */
  void decimal(Double value) throws IOException {
    encoder.writeIndex(value == null ? 0 : 1);
    if (value != null) {
      encoder.writeDouble(value);
    }
  }

  <V> void map(Map<String, V> map, Write<V> write) throws IOException {
    encoder.writeMapStart();
    encoder.setItemCount(map.size());
    for (Map.Entry<String, V> entry : map.entrySet()) {
      encoder.startItem();
      encoder.writeString(entry.getKey());
      write.to(this, entry.getValue());
    }
    encoder.writeMapEnd();
  }

  void strings(Collection<String> list) throws IOException {
    encoder.writeArrayStart();
    encoder.setItemCount(list.size());
    for (String item : list) {
      encoder.startItem();
      encoder.writeString(item);
    }
    encoder.writeArrayEnd();
  }
}
