package openbsp.join;

/**
 * A last-writer-wins register: a value with the version (an instant in microseconds) at which it was written.
 *
 * <p>The value is a String, a Long (an instant), a Json (a column without a typed field) or null (explicitly null).
 */
record Register(long version, Object value) {

  /** The version of a row that says nothing about its age. */
  static final long NEVER = Long.MIN_VALUE;

  /** JSON text of a column without a typed field. */
  record Json(String text) {}

  /** The later version; on a tie the larger content, whichever came first. Either may be null: absent. */
  static Register newer(Register a, Register b) {
    if (a == null || b == null) {
      return a == null ? b : a;
    }
    if (a.version != b.version) {
      return a.version > b.version ? a : b;
    }
    return compareContent(a.value, b.value) >= 0 ? a : b;
  }

  private static int compareContent(Object a, Object b) {
    int ranks = Integer.compare(rank(a), rank(b));
    if (ranks != 0 || a == null) {
      return ranks;
    }
    if (a instanceof Long number) {
      return number.compareTo((Long) b);
    }
    return a instanceof Json json ? json.text.compareTo(((Json) b).text) : ((String) a).compareTo((String) b);
  }

  private static int rank(Object value) {
    if (value == null) {
      return 0;
    }
    if (value instanceof Long) {
      return 1;
    }
    return value instanceof String ? 2 : 3;
  }

  /** The text of a register, null if it is absent or holds something else. */
  static String text(Register register) {
    return register != null && register.value instanceof String text ? text : null;
  }

  /** The instant of a register, null if it is absent or holds something else. */
  static Long instant(Register register) {
    return register != null && register.value instanceof Long instant ? instant : null;
  }
}
