//! What there is: actions and control nodes with their parameters, and trees.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::army::action::{Action, Param, Registry, Type};
use crate::army::library;
use crate::army::spec::node::{CONTROLS, Shape};

/// Control nodes and actions, for people.
pub fn actions(registry: &Registry) -> String {
    let mut text = String::from("Nodes\n");
    for control in CONTROLS {
        let children = match control.shape {
            Shape::List | Shape::Weighted => " [..]".into(),
            Shape::One(key) => format!(" {{{key}}}"),
            Shape::Named => " {role: ..}".into(),
            Shape::Elsewhere => String::new(),
        };
        entry(&mut text, control.name, &children, control.params, control.about);
    }
    text.push_str("\nActions\n");
    for action in registry.all() {
        entry(&mut text, action.name, "", action.params, action.about);
    }
    text
}

fn entry(text: &mut String, name: &str, children: &str, params: &[Param], about: &str) {
    let params: Vec<_> = params.iter().filter(|param| param.is_given()).map(signature).collect();
    let shown = if params.is_empty() { String::new() } else { format!(" {{ {} }}", params.join(", ")) };
    let _ = writeln!(text, "  {name}{shown}{children}\n      {about}");
}

/// `key`, `door = prefix`, `within?`.
fn signature(param: &Param) -> String {
    match param.default {
        Some("") => format!("{}: {} = \"\"", param.name, param.kind.name()),
        Some(default) => format!("{}: {} = {default}", param.name, param.kind.name()),
        None if param.required => format!("{}: {}", param.name, param.kind.name()),
        None => format!("{}?: {}", param.name, param.kind.name()),
    }
}

/// Control nodes and actions, for programs.
pub fn actions_json(registry: &Registry) -> Value {
    let nodes = CONTROLS.iter().map(|control| {
        json!({ "name": control.name, "about": control.about, "params": params_json(control.params) })
    });
    let actions = registry.all().map(action_json);
    json!({ "nodes": nodes.collect::<Vec<_>>(), "actions": actions.collect::<Vec<_>>() })
}

fn action_json(action: &Action) -> Value {
    let sets = action.params.iter().filter(|param| matches!(param.kind, Type::Sets)).map(|param| param.name);
    let sets: Vec<_> = sets.collect();
    json!({ "name": action.name, "about": action.about, "params": params_json(action.params), "sets": sets })
}

fn params_json(params: &[Param]) -> Value {
    let given = params.iter().filter(|param| param.is_given()).map(|param| {
        let mut shown = json!({ "name": param.name, "type": param.kind.name(), "required": param.required });
        if let Some(default) = param.default {
            shown["default"] = default.into();
        }
        if !param.about.is_empty() {
            shown["about"] = param.about.into();
        }
        if let Type::Record(inner) = param.kind {
            shown["fields"] = params_json(inner);
        }
        shown
    });
    given.collect()
}

/// One tree of a folder.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Listed {
    pub name: String,
    pub about: String,
    pub file: String,
    pub params: Vec<(String, Value)>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// The trees of a folder.
pub fn trees(folder: &Path, registry: &Registry) -> Result<Vec<Listed>, library::Unusable> {
    let files = library::files(folder)?;
    let listed = files.iter().map(|path| {
        let shown = path.display().to_string();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        match library::open(path, None, registry) {
            Ok(file) => Listed {
                name: stem,
                about: file.about,
                file: shown,
                params: file.params.into_iter().map(|param| (param.name, param.default)).collect(),
                fault: None,
            },
            Err(error) => {
                let first = error.to_string().lines().next().unwrap_or_default().to_owned();
                Listed {
                    name: stem,
                    about: String::new(),
                    file: shown,
                    params: Vec::new(),
                    fault: Some(first),
                }
            }
        }
    });
    Ok(listed.collect())
}

/// For people.
pub fn trees_text(trees: &[Listed]) -> String {
    let mut text = String::new();
    for tree in trees {
        let about = tree.fault.as_deref().unwrap_or(&tree.about);
        let _ = writeln!(text, "{:<22} {about}", tree.name);
    }
    text
}
