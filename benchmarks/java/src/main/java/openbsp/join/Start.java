package openbsp.join;

import java.util.concurrent.atomic.AtomicBoolean;

/** Tells on standard output when the first record came: `first` and the milliseconds since 1970. */
final class Start {

  private static final AtomicBoolean TOLD = new AtomicBoolean();

  private Start() {}

  static void tell() {
    if (!TOLD.getPlain() && TOLD.compareAndSet(false, true)) {
      System.out.println("first " + System.currentTimeMillis());
      System.out.flush();
    }
  }
}
