//! The page in the older text format of Prometheus (0.0.4), for tools that cannot read OpenMetrics: the same numbers under the same
//! names. There the rows of a counter bear the name of its family, units are not told, and nothing marks the end.
//!
//! Source: the Prometheus documentation, "Exposition formats".

use std::collections::HashMap;

/// From OpenMetrics as `prometheus-client` writes it.
pub fn from_open_metrics(page: &str) -> String {
    // `# TYPE name kind`
    let kinds: HashMap<&str, &str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut older = String::with_capacity(page.len());
    for line in page.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        match described(line) {
            Some((word, name, rest)) => {
                let (ending, kind) = match kinds.get(name) {
                    Some(&"counter") => ("_total", "counter"),
                    Some(&"info") => ("_info", "gauge"),
                    Some(other) => ("", *other),
                    None => ("", rest),
                };
                let rest = if word == "TYPE" { kind } else { rest };
                older.extend(["# ", word, " ", name, ending, " ", rest]);
            }
            None => older.push_str(line),
        }
        older.push('\n');
    }
    older
}

/// `# HELP name text` and `# TYPE name kind`, taken apart.
fn described(line: &str) -> Option<(&str, &str, &str)> {
    let (word, rest) = line.strip_prefix("# ")?.split_once(' ')?;
    let (name, rest) = rest.split_once(' ')?;
    Some((word, name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_bear_the_name_of_their_rows_and_what_is_not_known_there_is_left_out() {
        let page = "# HELP a_seconds A.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1\n# HELP b B.\n# TYPE b \
                    info\nb_info{v=\"# TYPE a_seconds gauge\"} 1\n# HELP c C.\n# TYPE c gauge\nc 2.0\n# EOF\n";
        let older = "# HELP a_seconds_total A.\n# TYPE a_seconds_total counter\na_seconds_total 1\n# HELP b_info B.\n# TYPE b_info \
                     gauge\nb_info{v=\"# TYPE a_seconds gauge\"} 1\n# HELP c C.\n# TYPE c gauge\nc 2.0\n";
        assert_eq!(from_open_metrics(page), older);
    }
}
