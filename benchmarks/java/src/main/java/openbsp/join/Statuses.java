package openbsp.join;

import java.util.Map;

/** The status of a message: keys with the instants at which they were reached. */
final class Statuses {

  private static final Map<String, Integer> RANKS =
      Map.of(
          "pending", 0, "held_for_quality_assessment", 1, "accepted", 2, "sent", 3, "failed", 4, "delivered", 5,
          "read", 6, "deleted", 7);

  private Statuses() {}

  static int rank(String status) {
    return RANKS.getOrDefault(status, -1);
  }

  /** The highest-ranked status that was reached, null if none of them was. */
  static String delivery(Map<String, Long> moments) {
    String best = null;
    int highest = -1;
    for (String status : moments.keySet()) {
      int rank = rank(status);
      if (rank > highest) {
        best = status;
        highest = rank;
      }
    }
    return best;
  }

  /** The highest-ranked status that was reached before {@code status}; rank decides between equal instants. */
  static String before(Map<String, Long> moments, String status) {
    long at = moments.get(status);
    int limit = rank(status);
    String best = null;
    int highest = -1;
    for (Map.Entry<String, Long> other : moments.entrySet()) {
      int rank = rank(other.getKey());
      boolean earlier = other.getValue() < at || other.getValue() == at && rank < limit;
      if (earlier && rank > highest) {
        best = other.getKey();
        highest = rank;
      }
    }
    return best;
  }
}
