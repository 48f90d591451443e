//! The graph for graphviz and as JSON.

use petgraph::dot::{Config, Dot};
use petgraph::graph::DiGraph;
use serde_json::{Value, json};

use super::book::{Book, node};
use super::report::{Order, Report};

impl Book {
    pub(super) fn dot(&self) -> String {
        let graph = self.drawn();
        let dot = Dot::with_attr_getters(
            &graph,
            &[Config::NodeNoLabel, Config::EdgeNoLabel],
            &|_, edge| edge.weight().clone(),
            &|_, (_, name)| format!("label={name:?}"),
        );
        format!("{dot:?}")
    }

    /// Known orders, exceptions and contradictions together, with how each is drawn.
    fn drawn(&self) -> DiGraph<&'static str, String> {
        let mut graph = DiGraph::new();
        self.graph.inner().node_weights().for_each(|class| {
            graph.add_node(class.name);
        });
        for (held, wanted, order) in self.orders() {
            graph.add_edge(held, wanted, format!("tooltip={:?}", order.wanted_at.to_string()));
        }
        for ((held, wanted), why) in &self.allowed {
            graph.add_edge(node(*held), node(*wanted), format!("style=dotted label={why:?}"));
        }
        for (held, wanted, count) in self.contradictions() {
            graph.add_edge(node(held), node(wanted), format!("color=red label=\"{count}x\""));
        }
        graph
    }

    pub(super) fn json(&self) -> Value {
        let classes = self.graph.inner().node_weights().map(|class| class.name);
        let allowed = self.allowed.iter().map(|((held, wanted), why)| {
            json!({ "held": self.class_name(*held), "wanted": self.class_name(*wanted), "why": why })
        });
        json!({
            "classes": classes.collect::<Vec<_>>(),
            "orders": self.orders().map(|(_, _, order)| order_json(order)).collect::<Vec<_>>(),
            "allowed": allowed.collect::<Vec<_>>(),
            "reports": self.reports().iter().map(report_json).collect::<Vec<_>>(),
        })
    }
}

fn order_json(order: &Order) -> Value {
    json!({
        "held": order.held,
        "held_name": order.held_name.as_deref(),
        "held_at": order.held_at.to_string(),
        "wanted": order.wanted,
        "wanted_name": order.wanted_name.as_deref(),
        "wanted_at": order.wanted_at.to_string(),
        "by": order.by,
        "holding": order.holding,
    })
}

fn report_json(report: &Report) -> Value {
    let backtrace = |order: &Order| order.backtrace.to_string();
    json!({
        "summary": report.summary(),
        "count": report.count(),
        "cycle": report.cycle(),
        "orders": report.orders().iter().map(|order| order_json(order)).collect::<Vec<_>>(),
        "backtraces": report.orders().iter().map(|order| backtrace(order)).collect::<Vec<_>>(),
    })
}
