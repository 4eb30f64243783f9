package openbsp.join;

import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/**
 * Runs the join until SIGTERM.
 *
 * <p>The argument is a properties file: {@code store} (memory or rocksdb), {@code partitions}, {@code topic.prefix},
 * {@code name.space} (of UUIDs, hexadecimal), {@code schema.<Record>} (ids), and after {@code streams.} the settings of
 * Kafka Streams.
 */
public final class Join {

  private static final String SETTINGS = "streams.";

  private Join() {}

  public static void main(String[] arguments) throws IOException, InterruptedException {
    Properties job = new Properties();
    try (Reader reader = Files.newBufferedReader(Path.of(arguments[0]))) {
      job.load(reader);
    }
    Properties settings = new Properties();
    for (String name : job.stringPropertyNames()) {
      if (name.startsWith(SETTINGS)) {
        settings.setProperty(name.substring(SETTINGS.length()), job.getProperty(name));
      }
    }
    CountDownLatch end = new CountDownLatch(1);
    KafkaStreams streams = new KafkaStreams(JoinTopology.build(job), settings);
    streams.setUncaughtExceptionHandler(
        failure -> {
          failure.printStackTrace();
          Runtime.getRuntime().halt(1);
          return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  streams.close(Duration.ofSeconds(20));
                  end.countDown();
                }));
    streams.start();
    end.await();
  }
}
