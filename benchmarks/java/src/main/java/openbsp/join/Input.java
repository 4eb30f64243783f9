package openbsp.join;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;

/** Reads Avro binary: what a schema of this job needs, and no more. Reused for value after value, by one thread. */
final class Input {

  private BinaryDecoder decoder;

  /** Reads one value out of an Input. */
  @FunctionalInterface
  interface Read<T> {
    T from(Input input) throws IOException;
  }

  /** Read one value from {@code offset} on. */
  <T> T read(byte[] bytes, int offset, Read<T> read) {
    decoder = DecoderFactory.get().binaryDecoder(bytes, offset, bytes.length - offset, decoder);
    try {
      return read.from(this);
    } catch (IOException malformed) {
      throw new UncheckedIOException(malformed);
    }
  }

  String string() throws IOException {
    return decoder.readString();
  }

  long number() throws IOException {
    return decoder.readLong();
  }

  /** A value of a union of null and something. */
  <T> T optional(Read<T> read) throws IOException {
    return decoder.readIndex() == 0 ? null : read.from(this);
  }

  /** A text that may be null. */
  String text() throws IOException {
    return decoder.readIndex() == 0 ? null : decoder.readString();
  }

  /** An instant that may be null. */
  Long instant() throws IOException {
    return decoder.readIndex() == 0 ? null : decoder.readLong();
  }

  <V> Map<String, V> map(Read<V> read) throws IOException {
    long count = decoder.readMapStart();
    if (count == 0) {
      return Map.of();
    }
    Map<String, V> map = new HashMap<>();
    for (; count != 0; count = decoder.mapNext()) {
      for (long i = 0; i < count; i++) {
        map.put(decoder.readString(), read.from(this));
      }
    }
    return map;
  }

  List<String> strings() throws IOException {
    long count = decoder.readArrayStart();
    if (count == 0) {
      return List.of();
    }
    List<String> list = new ArrayList<>();
    for (; count != 0; count = decoder.arrayNext()) {
      for (long i = 0; i < count; i++) {
        list.add(decoder.readString());
      }
    }
    return list;
  }
}
