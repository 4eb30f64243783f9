package openbsp.join;

import java.time.Duration;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;

/**
 * Passes records on, and asks for a commit when none came for a moment.
 *
 * <p>The commit interval (30 s) is also how long the caches may keep outputs back. At the end of the measured input
 * that would be waiting without work; this ends it, and changes nothing while there is input: a commit of one task is one
 * of all, so it is asked for when no task had a record.
 */
final class CommitWhenIdle<V> extends ContextualFixedKeyProcessor<String, V, V> {

  private static final Duration MOMENT = Duration.ofMillis(100);

  /** Of all tasks, which have one thread. */
  private static long processedAt;

  private boolean uncommitted;

  @Override
  public void init(FixedKeyProcessorContext<String, V> context) {
    super.init(context);
    context.schedule(MOMENT, PunctuationType.WALL_CLOCK_TIME, this::look);
  }

  private void look(long now) {
    if (uncommitted && now - processedAt >= MOMENT.toMillis()) {
      context().commit();
      uncommitted = false;
    }
  }

  @Override
  public void process(FixedKeyRecord<String, V> record) {
    Start.tell();
    processedAt = context().currentSystemTimeMs();
    uncommitted = true;
    context().forward(record);
  }
}
