package openbsp.join;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * The registers of a row: those of typed columns by position, the others by name.
 *
 * @param typed a register for each column of {@code names}, null where the column was never told
 */
record Columns(Register[] typed, Map<String, Register> others) {

  static final String[] MESSAGE = {
    "organization_id", "conversation_id", "external_id", "direction", "agent_id", "contact_address", "service",
    "organization_address", "group_address", "thread_id", "content", "timestamp", "created_at", "updated_at"
  };
  static final int CONVERSATION_ID = 1;
  static final int DIRECTION = 3;
  static final int CONTENT = 10;
  static final int TIMESTAMP = 11;
  static final int CREATED_AT = 12;

  static final String[] CONVERSATION = {
    "organization_id", "service", "organization_address", "contact_address", "group_address", "name", "status",
    "created_at", "updated_at"
  };
  static final int STATUS = 6;

  /** What an event says: its typed values, then {@code extra} and {@code nulls}, which may name typed columns too. */
  static Columns told(String[] names, Object[] values, long version, Map<String, String> extra, List<String> nulls) {
    Register[] typed = new Register[names.length];
    for (int i = 0; i < names.length; i++) {
      if (values[i] != null) {
        typed[i] = new Register(version, values[i]);
      }
    }
    Columns columns = new Columns(typed, extra.isEmpty() && nulls.isEmpty() ? Map.of() : new TreeMap<>());
    extra.forEach((name, text) -> columns.tell(names, name, new Register(version, new Register.Json(text))));
    nulls.forEach(name -> columns.tell(names, name, new Register(version, null)));
    return columns;
  }

  private void tell(String[] names, String name, Register register) {
    for (int i = 0; i < names.length; i++) {
      if (names[i].equals(name)) {
        typed[i] = register;
        return;
      }
    }
    others.put(name, register);
  }

  /** What both say together. */
  Columns join(Columns other) {
    Register[] joined = new Register[typed.length];
    for (int i = 0; i < joined.length; i++) {
      joined[i] = Register.newer(typed[i], other.typed[i]);
    }
    return new Columns(joined, Maps.join(others, other.others, Register::newer));
  }

  /** The columns that are explicitly null, sorted. */
  List<String> nulls(String[] names) {
    List<String> nulls = new ArrayList<>();
    for (int i = 0; i < names.length; i++) {
      if (typed[i] != null && typed[i].value() == null) {
        nulls.add(names[i]);
      }
    }
    others.forEach((name, register) -> {
      if (register.value() == null) {
        nulls.add(name);
      }
    });
    nulls.sort(null);
    return nulls;
  }

  /** The columns that are JSON text. */
  Map<String, String> extra(String[] names) {
    Map<String, String> extra = new TreeMap<>();
    for (int i = 0; i < names.length; i++) {
      if (typed[i] != null && typed[i].value() instanceof Register.Json json) {
        extra.put(names[i], json.text());
      }
    }
    others.forEach((name, register) -> {
      if (register.value() instanceof Register.Json json) {
        extra.put(name, json.text());
      }
    });
    return extra;
  }
}
