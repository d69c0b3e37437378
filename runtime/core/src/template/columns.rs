//! The columns of a changed row that a template looks at.

use super::node::{Expr, Node};
use super::reference::{Reference, Start, Step};
use super::root::Root;
use crate::capture::Columns;

/// Adds those of `nodes`.
pub(super) fn of_nodes(nodes: &[Node], columns: &mut Columns) {
    for node in nodes {
        match node {
            Node::Text(_) => {}
            Node::Insert(insert) => of_expr(&insert.expr, columns),
            Node::If { condition, then, otherwise, .. } => {
                of_expr(condition, columns);
                of_nodes(then, columns);
                of_nodes(otherwise, columns);
            }
            Node::Each { over: value, body, otherwise } | Node::With { value, body, otherwise } => {
                of_expr(value, columns);
                of_nodes(body, columns);
                otherwise.iter().for_each(|nodes| of_nodes(nodes, columns));
            }
        }
    }
}

fn of_expr(expr: &Expr, columns: &mut Columns) {
    match expr {
        Expr::Literal(_) => {}
        Expr::Reference(reference) => of_reference(reference, columns),
        Expr::Call(call) => {
            call.args.iter().for_each(|arg| of_expr(arg, columns));
            call.options.iter().for_each(|(_, value)| of_expr(value, columns));
        }
    }
}

fn of_reference(reference: &Reference, columns: &mut Columns) {
    match &reference.start {
        Start::Root(Root::Record | Root::PreviousRecord) => columns.add(first(&reference.steps)),
        // Which fields changed is found by comparing all of them.
        Start::Root(Root::ChangedFields | Root::Payload) => columns.add(None),
        Start::Root(_) => {}
        // What a block goes over was counted where the block begins.
        Start::Block { otherwise, .. } => otherwise.iter().for_each(|root| of_reference(root, columns)),
    }
}

fn first(steps: &[Step]) -> Option<&str> {
    steps.first().map(|step| step.key.as_str())
}
