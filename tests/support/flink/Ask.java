import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.types.RowKind;
import org.apache.flink.util.CloseableIterator;

/**
 * Runs statements in Flink SQL on a cluster in this process, as its SQL client would.
 *
 * Arguments: files with a statement each. A query prints its rows, a line each with the query's file name before it, once
 * all of its tables have been read to the end: changelogs are folded, so what is printed is the table.
 */
public class Ask {
    public static void main(String[] files) throws Exception {
        Configuration configuration = new Configuration();
        configuration.setString("parallelism.default", "1");
        configuration.setString("table.local-time-zone", "UTC");
        configuration.setString("taskmanager.numberOfTaskSlots", "4");
        TableEnvironment tables =
                TableEnvironment.create(
                        EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(configuration).build());
        for (String file : files) {
            String statement = Files.readString(Path.of(file)).strip().replaceAll(";$", "");
            if (!statement.startsWith("SELECT")) {
                tables.executeSql(statement);
                continue;
            }
            Map<Row, Integer> rows = new HashMap<>();
            try (CloseableIterator<Row> changes = tables.executeSql(statement).collect()) {
                while (changes.hasNext()) {
                    Row change = changes.next();
                    boolean added = List.of(RowKind.INSERT, RowKind.UPDATE_AFTER).contains(change.getKind());
                    change.setKind(RowKind.INSERT);
                    rows.merge(change, added ? 1 : -1, Integer::sum);
                }
            }
            for (Map.Entry<Row, Integer> row : rows.entrySet()) {
                for (int times = 0; times < row.getValue(); times++) {
                    System.out.println(Path.of(file).getFileName() + "\t" + fields(row.getKey()));
                }
            }
        }
        System.exit(0);
    }

    private static String fields(Row row) {
        StringBuilder line = new StringBuilder();
        for (int index = 0; index < row.getArity(); index++) {
            Object value = row.getField(index);
            String text = value instanceof Object[] list ? String.join(" ", List.of(list).toString()) : String.valueOf(value);
            line.append(index == 0 ? "" : "\t").append(text);
        }
        return line.toString();
    }
}
