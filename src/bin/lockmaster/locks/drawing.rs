//! Who waits for whom, as a picture: who waits stands to the left of those it waits for.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::follow::said;
use crate::svg::{LINE, Svg, width};
use crate::wording;

/// Who waits for whom, and for which lock.
#[derive(Debug, Default)]
struct Graph {
    /// The text of each, by job.
    nodes: BTreeMap<u64, String>,
    /// Who waits, for whom, and for which locks.
    edges: BTreeMap<(u64, u64), Vec<String>>,
}

/// The picture of an overview of all locks.
pub(super) fn draw(overview: &Value) -> String {
    let graph = Graph::of(overview);
    let columns = graph.columns();
    let wide: Vec<f64> = columns.iter().map(|column| graph.width(column)).collect();
    let gap = graph.edges.values().map(|locks| width(&locks.join(", "))).fold(0.0, f64::max) + 40.0;
    let mut svg = Svg::default();
    let mut places = BTreeMap::new();
    let mut x = 10.0;
    for (column, wide) in columns.iter().zip(&wide) {
        for (row, job) in column.iter().enumerate() {
            let y = 10.0 + row as f64 * 2.0 * LINE;
            svg.rect("box", (x, y), (*wide, LINE), &graph.nodes[job]);
            svg.text("", (x + 8.0, y + 15.0), &graph.nodes[job]);
            places.insert(*job, (x, y + LINE / 2.0, *wide));
        }
        x += wide + gap;
    }
    for ((from, to), locks) in &graph.edges {
        let ((left, y1, wide), (right, y2, _)) = (places[from], places[to]);
        svg.arrow((left + wide, y1), (right, y2));
        svg.text("dim", (left + wide + 10.0, y1 - 4.0), &locks.join(", "));
    }
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    if graph.nodes.is_empty() {
        svg.text("", (10.0, 25.0), "nobody waits for a lock");
    }
    svg.finish((x - gap).max(200.0) + 10.0, 20.0 + rows.max(1) as f64 * 2.0 * LINE)
}

impl Graph {
    fn of(overview: &Value) -> Self {
        let mut graph = Self::default();
        for lock in list(&overview["locks"]) {
            let (holders, waiters) = (list(&lock["holders"]), list(&lock["waiters"]));
            for (place, waiter) in waiters.iter().enumerate() {
                let conflicts =
                    |other: &&Value| waiter["mode"] != "shared" || other["mode"] != "shared";
                let held: Vec<&Value> = holders.iter().filter(conflicts).collect();
                // Nobody holds it in conflict: it is reserved for one who comes first.
                let first = waiters[..place].iter().rfind(conflicts);
                let blockers = if held.is_empty() { first.into_iter().collect() } else { held };
                blockers.iter().for_each(|blocker| graph.add(waiter, blocker, &lock["lock"]));
            }
        }
        graph
    }

    fn add(&mut self, waiter: &Value, blocker: &Value, lock: &Value) {
        let (Some(from), Some(to)) = (number(waiter), number(blocker)) else {
            return;
        };
        for one in [waiter, blocker] {
            let name = wording::name(&one["job"], &one["label"]);
            self.nodes.insert(number(one).unwrap_or_default(), name);
        }
        self.edges.entry((from, to)).or_default().push(said(lock));
    }

    /// The jobs by how many others stand between them and one that waits for nobody; those
    /// farthest away first. An overview of one moment has no circles; of a damaged one the
    /// rest stands in the first column.
    fn columns(&self) -> Vec<Vec<u64>> {
        let mut columns: Vec<Vec<u64>> = Vec::new();
        let mut left: Vec<u64> = self.nodes.keys().copied().collect();
        while !left.is_empty() {
            let waits =
                |job: &u64| self.edges.keys().any(|(from, to)| from == job && left.contains(to));
            let (later, ready): (Vec<u64>, Vec<u64>) = left.iter().partition(|job| waits(job));
            if ready.is_empty() {
                columns.push(later);
                break;
            }
            columns.push(ready);
            left = later;
        }
        columns.reverse();
        columns
    }

    fn width(&self, column: &[u64]) -> f64 {
        column.iter().map(|job| width(&self.nodes[job])).fold(40.0, f64::max) + 16.0
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The number of a job, or that of a client of the daemon as an owner of locks.
fn number(one: &Value) -> Option<u64> {
    one["job"].as_u64().or_else(|| one["owner"].as_u64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn who(job: u64, mode: &str) -> Value {
        json!({"job": job, "label": null, "mode": mode})
    }

    #[test]
    fn who_waits_stands_left_of_whom_it_waits_for() {
        let overview = json!({"locks": [
            {"lock": "node/a", "holders": [who(1, "shared"), who(2, "shared")],
             "waiters": [who(3, "exclusive"), who(4, "shared")]},
            {"lock": "node/b", "holders": [who(3, "exclusive")], "waiters": [who(5, "shared")]},
        ]});
        let graph = Graph::of(&overview);
        assert_eq!(graph.columns(), [vec![4, 5], vec![3], vec![1, 2]]);
        // The one that could share waits for the one that has reserved before it.
        assert!(graph.edges.contains_key(&(4, 3)) && !graph.edges.contains_key(&(4, 1)));
        let drawn = draw(&overview);
        assert_eq!(drawn.matches("<rect").count(), 5);
        assert_eq!(drawn.matches("class=\"edge\" marker-end").count(), 4);
        assert!(drawn.contains(">job 5</text>"));
        assert!(draw(&json!({"locks": []})).contains("nobody waits for a lock"));
    }
}
