package openbsp.join;

import java.util.HashMap;
import java.util.Map;
import java.util.function.BinaryOperator;

/** Joins of maps that are never changed once they are made. */
final class Maps {

  private Maps() {}

  /** The union; {@code choose} decides between two values of a key. */
  static <V> Map<String, V> join(Map<String, V> a, Map<String, V> b, BinaryOperator<V> choose) {
    if (a.isEmpty() || b.isEmpty()) {
      return a.isEmpty() ? b : a;
    }
    Map<String, V> joined = new HashMap<>(a);
    b.forEach((key, value) -> joined.merge(key, value, choose));
    return joined;
  }
}
