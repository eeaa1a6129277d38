//! A compiled tree for people: as text, as a Mermaid diagram, as SVG.

use std::fmt::Write;

use crate::army::spec::program::{Part, Program};
use crate::army::tree::{Kind, NodeId};

/// What one node was given is cut here, in characters.
const SHOWN_MAX: usize = 90;

/// One line a node.
pub fn text(program: &Program) -> String {
    let mut text = format!("{}  {}\n", program.name, program.about);
    walk(program, 0, &mut |id, depth| {
        let _ = writeln!(text, "{}{}", "  ".repeat(depth + 1), title(program, id));
    });
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
}

/// A flowchart from top to bottom.
pub fn mermaid(program: &Program) -> String {
    let mut text = String::from("flowchart TD\n");
    walk(program, 0, &mut |id, _| {
        let title = title(program, id).replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;");
        let (open, close) = match program.tree.node(id).kind {
            Kind::Leaf => ("([\"", "\"])"),
            _ => ("[\"", "\"]"),
        };
        let _ = writeln!(text, "  n{id}{open}{title}{close}");
    });
    for (id, node) in program.tree.nodes() {
        for (place, child) in node.children.iter().enumerate() {
            let _ = match node.kind {
                Kind::RandomWeighted => writeln!(text, "  n{id} -- {} --> n{child}", node.weights[place]),
                _ => writeln!(text, "  n{id} --> n{child}"),
            };
        }
    }
    text
}

/// Pixels of a row, and of a step to the right.
const ROW: usize = 26;
const STEP: usize = 24;

/// A tree that grows to the right, in one picture without a network.
pub fn svg(program: &Program) -> String {
    let mut rows: Vec<(NodeId, usize)> = Vec::new();
    walk(program, 0, &mut |id, depth| rows.push((id, depth)));
    let widest =
        rows.iter().map(|(id, depth)| depth * STEP + title(program, *id).chars().count() * 8 + 48).max();
    let (width, height) = (widest.unwrap_or(200), rows.len() * ROW + 16);
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
         {height}\" font-family=\"ui-monospace, monospace\" font-size=\"13\" style=\"white-space: pre\">\n<title>{}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        escaped(&program.name)
    );
    for (row, (id, depth)) in rows.iter().enumerate() {
        let (x, y) = (depth * STEP + 16, row * ROW + 20);
        if let Some(parent) = rows[..row].iter().rposition(|(_, above)| above + 1 == *depth) {
            let (from_x, from_y) = (x - STEP + 4, parent * ROW + 24);
            let _ = writeln!(
                picture,
                "<path d=\"M{from_x} {from_y}V{y}H{x}\" fill=\"none\" stroke=\"#9aa5b1\"/>"
            );
        }
        let color = match program.tree.node(*id).kind {
            Kind::Leaf => "#2563eb",
            Kind::Guard => "#b45309",
            _ => "#475569",
        };
        let _ = writeln!(
            picture,
            "<circle cx=\"{}\" cy=\"{y}\" r=\"4\" fill=\"{color}\"/><text x=\"{}\" y=\"{}\" fill=\"#0f172a\">{}</text>",
            x + 4,
            x + 14,
            y + 4,
            escaped(&title(program, *id))
        );
    }
    picture.push_str("</svg>\n");
    picture
}

fn walk(program: &Program, depth: usize, each: &mut impl FnMut(NodeId, usize)) {
    let mut open = vec![(0, depth)];
    while let Some((id, depth)) = open.pop() {
        each(id, depth);
        open.extend(program.tree.node(id).children.iter().rev().map(|child| (*child, depth + 1)));
    }
}

fn title(program: &Program, id: NodeId) -> String {
    let part = program.part(id);
    let label = part.label.as_ref().map(|label| format!("  [{label}]")).unwrap_or_default();
    let role = parent_role(program, id).map(|role| format!("{role}: ")).unwrap_or_default();
    format!("{role}{}{}{label}", part.name(), given(part))
}

fn given(part: &Part) -> String {
    let line: String = part.shown.replace('\n', " ").chars().take(SHOWN_MAX).collect();
    let cut = if line.chars().count() == SHOWN_MAX { ".." } else { "" };
    if line.is_empty() { line } else { format!("  {line}{cut}") }
}

/// Of a child of `by_role`: for whom it is.
fn parent_role(program: &Program, id: NodeId) -> Option<&str> {
    let step = program.part(id).path.rsplit('/').next()?;
    let of_role =
        program.tree.nodes().find(|(_, node)| node.kind == Kind::ByRole && node.children.contains(&id));
    of_role
        .and_then(|(parent, _)| program.part(parent).roles.iter().find(|role| *role == step))
        .map(String::as_str)
}

/// Text inside of markup.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Control characters are allowed in no markup.
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
