//! Namespaces that hold values: a function that fills an object. What they export is constant here: exported
//! variables that change would need every use of them rewritten, and are refused.

use oxc_ast::ast::*;
use oxc_ast_visit::Visit;
use oxc_span::GetSpan;

use super::strip::Strip;

/// Whether a namespace holds anything but types.
pub(super) fn makes_code(it: &TSNamespaceDeclaration<'_>) -> bool {
    match &it.body {
        TSNamespaceDeclarationBody::TSNamespaceDeclaration(inner) => makes_code(inner),
        TSNamespaceDeclarationBody::TSModuleBlock(block) => block.body.iter().any(|statement| {
            let declaration = match statement {
                Statement::ExportDeclaration(export) => Some(&export.declaration),
                other => other.as_declaration(),
            };
            declaration.is_none_or(|declaration| !Strip::is_ambient(declaration))
        }),
    }
}

pub(super) fn declaration<'a>(strip: &mut Strip<'_, 'a>, it: &TSNamespaceDeclaration<'a>) {
    let TSNamespaceDeclarationBody::TSModuleBlock(block) = &it.body else {
        return strip.refuse(
            it.span.start,
            "Namespaces with a dot in their name are not supported: nest them, or use modules.",
        );
    };
    let name = it.id.name.as_str();
    let parent = strip.exporting.take();
    let first = strip.declare(name);
    let text = strip.text;
    let head = format!("{first}(function ({name}) {{");
    let open = block.span.start + 1;
    strip.edits.replace(it.span.start, open, text.with_lines_of(it.span.start, open, head));
    strip.scope(&block.body, false);
    for statement in &block.body {
        match statement {
            Statement::ExportDeclaration(export) => exported(strip, name, export),
            other if other.as_module_declaration().is_some() => {
                strip.refuse(other.span().start, "A namespace can only export declarations: use a module.");
            }
            other => strip.visit_statement(other),
        }
    }
    strip.scopes.pop();
    let value = match &parent {
        Some(parent) => format!("{parent}.{name} || ({parent}.{name} = {{}})"),
        None => format!("{name} || ({name} = {{}})"),
    };
    let value = if parent.is_some() { format!("{name} = {value}") } else { value };
    strip.edits.replace(block.span.end - 1, block.span.end, format!("}})({value});"));
}

fn exported<'a>(strip: &mut Strip<'_, 'a>, namespace: &str, export: &ExportDeclaration<'a>) {
    if Strip::is_ambient(&export.declaration) {
        return strip.blank_statement(export.span);
    }
    let declaration = export.declaration.span();
    strip.edits.blank(export.span.start, declaration.start);
    let name = match &export.declaration {
        Declaration::VariableDeclaration(it) => {
            for declarator in &it.declarations {
                match (&declarator.id, &declarator.init) {
                    (BindingPattern::BindingIdentifier(id), Some(init))
                        if it.kind == VariableDeclarationKind::Const =>
                    {
                        strip.edits.insert(init.span().start, format!("{namespace}.{} = ", id.name));
                    }
                    _ => strip.refuse(
                        declarator.span.start,
                        "A namespace exports plain constants here: write `export const name = value`, or use a module.",
                    ),
                }
            }
            strip.visit_variable_declaration(it);
            return;
        }
        Declaration::TSNamespaceDeclaration(it) => {
            strip.exporting = Some(namespace.to_owned());
            return strip.visit_ts_namespace_declaration(it);
        }
        Declaration::FunctionDeclaration(it) => it.id.as_ref().map(|id| id.name.to_string()),
        Declaration::ClassDeclaration(it) => it.id.as_ref().map(|id| id.name.to_string()),
        Declaration::TSEnumDeclaration(it) => Some(it.id.name.to_string()),
        other => return strip.refuse(other.span().start, "A namespace cannot export this: use a module."),
    };
    strip.visit_declaration(&export.declaration);
    if let Some(name) = name {
        strip.edits.insert(export.span.end, format!(" {namespace}.{name} = {name};"));
    }
}
