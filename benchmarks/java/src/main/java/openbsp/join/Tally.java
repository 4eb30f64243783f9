package openbsp.join;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import openbsp.join.Contribution.Position;

/** What the messages of one conversation add up to. Derived: made again from the contributions after a start. */
final class Tally {

  int messages;
  int incoming;
  int outgoing;
  int internal;
  int unread;
  final Map<String, Integer> statusCounts = new HashMap<>();
  Position lastIncoming;
  Position lastOutgoing;
  Position firstIncoming;
  Position reply;

  /** An extreme has lost its message: only a new tally over all messages can tell the next one. */
  boolean stale;

  /** The tally of all contributions to a conversation. */
  static Tally of(String conversationId, List<Contribution> all) {
    Tally tally = new Tally();
    for (Contribution contribution : all) {
      if (contribution.belongsTo(conversationId)) {
        tally.count(contribution, 1);
        tally.stretch(contribution);
      }
    }
    if (tally.stale) {
      tally.reply = null;
      for (Contribution contribution : all) {
        boolean candidate = contribution.belongsTo(conversationId) && "outgoing".equals(contribution.directionText());
        if (candidate && contribution.position().time() >= tally.firstIncoming.time()) {
          Position position = contribution.position();
          tally.reply = tally.reply == null || position.compareTo(tally.reply) < 0 ? position : tally.reply;
        }
      }
      tally.stale = false;
    }
    return tally;
  }

  /** Take the old contribution of a message out and the new one in; the old one may be null. */
  void replace(String conversationId, Contribution old, Contribution current) {
    Contribution before = old != null && old.belongsTo(conversationId) ? old : null;
    Contribution after = current.belongsTo(conversationId) ? current : null;
    if (before != null) {
      count(before, -1);
    }
    if (after != null) {
      count(after, 1);
    }
    if (before != null) {
      boolean moved =
          after == null
              || !before.position().equals(after.position())
              || !String.valueOf(before.directionText()).equals(String.valueOf(after.directionText()));
      if (!moved) {
        return;
      }
      Position gone = before.position();
      if (gone.equals(lastIncoming) || gone.equals(lastOutgoing) || gone.equals(firstIncoming) || gone.equals(reply)) {
        stale = true;
        return;
      }
    }
    if (after != null) {
      stretch(after);
    }
  }

  private void count(Contribution contribution, int step) {
    messages += step;
    String direction = contribution.directionText();
    if ("incoming".equals(direction)) {
      incoming += step;
      unread += contribution.status().containsKey("read") ? 0 : step;
    } else if ("outgoing".equals(direction)) {
      outgoing += step;
      String status = Statuses.delivery(contribution.status());
      if (status != null && statusCounts.merge(status, step, Integer::sum) == 0) {
        statusCounts.remove(status);
      }
    } else if ("internal".equals(direction)) {
      internal += step;
    }
  }

  private void stretch(Contribution contribution) {
    Position position = contribution.position();
    String direction = contribution.directionText();
    if ("incoming".equals(direction)) {
      lastIncoming = later(lastIncoming, position);
      if (position.time() != Register.NEVER && (firstIncoming == null || position.compareTo(firstIncoming) < 0)) {
        // An earlier beginning may make an earlier outgoing message the reply.
        stale = stale || outgoing > 0 && (firstIncoming == null || firstIncoming.time() != position.time());
        firstIncoming = position;
      }
    } else if ("outgoing".equals(direction)) {
      lastOutgoing = later(lastOutgoing, position);
      boolean answers = firstIncoming != null && position.time() >= firstIncoming.time();
      if (answers && (reply == null || position.compareTo(reply) < 0)) {
        reply = position;
      }
    }
  }

  private static Position later(Position a, Position b) {
    return a == null || b.compareTo(a) > 0 ? b : a;
  }

  /** Where the newest incoming or outgoing message stands, null if there is none. */
  Position last() {
    if (lastIncoming == null || lastOutgoing == null) {
      return lastIncoming == null ? lastOutgoing : lastIncoming;
    }
    return later(lastIncoming, lastOutgoing);
  }
}
