//! Imports and exports whose names are types, or that nobody uses (contract 05 §2.4): people import `User` and other
//! types by plain name.

use oxc_ast::ast::*;
use oxc_span::{GetSpan, Span};

use super::strip::{Binding, Import, Strip, is_handler};

/// Settles the bindings when the whole file was walked and all uses are known.
pub(super) fn finish(strip: &mut Strip<'_, '_>) {
    let bindings = std::mem::take(&mut strip.bindings);
    // A name that is exported again counts as used, unless it is a type of the file.
    for binding in &bindings {
        if let Binding::Export(export) = binding
            && export.export_kind.is_value()
        {
            for specifier in export.specifiers.iter().filter(|specifier| specifier.export_kind.is_value()) {
                if let ModuleExportName::IdentifierReference(name) = &specifier.local {
                    strip.values.insert(name.name.as_str());
                }
            }
        }
    }
    for binding in bindings {
        match binding {
            Binding::Import(import) => settle_import(strip, import),
            Binding::Export(export) => settle_export(strip, export),
        }
    }
}

fn settle_import<'a>(strip: &mut Strip<'_, 'a>, import: &ImportDeclaration<'a>) {
    if import.import_kind.is_type() {
        return strip.blank_statement(import.span);
    }
    let note = |strip: &mut Strip<'_, 'a>| {
        strip.imports.push(Import {
            specifier: import.source.value.to_string(),
            span: import.source.span,
            dynamic: false,
        });
    };
    let Some(specifiers) = import.specifiers.as_ref().filter(|specifiers| !specifiers.is_empty()) else {
        return note(strip);
    };
    let unused = |specifier: &ImportDeclarationSpecifier<'a>| match specifier {
        ImportDeclarationSpecifier::ImportSpecifier(it) => {
            it.import_kind.is_type() || !strip.values.contains(it.local.name.as_str())
        }
        other => !strip.values.contains(other.local().name.as_str()),
    };
    let gone: Vec<&ImportDeclarationSpecifier<'a>> = specifiers.iter().filter(|specifier| unused(specifier)).collect();
    if gone.len() == specifiers.len() {
        if strip.typescript {
            return strip.blank_statement(import.span);
        }
        // The module is still asked for: it may do something by being loaded, and a package that is not there is
        // better found now.
        strip.edits.blank(import.span.start + 6, import.source.span.start);
        return note(strip);
    }
    for specifier in gone {
        match specifier {
            ImportDeclarationSpecifier::ImportNamespaceSpecifier(it) => {
                // `import a, * as b`: the comma goes with it.
                let start = specifiers.first().map_or(it.span.start, |first| first.span().end);
                strip.edits.blank(start.min(it.span.start), it.span.end);
            }
            other => remove_from_list(strip, other.span()),
        }
    }
    note(strip);
}

fn settle_export<'a>(strip: &mut Strip<'_, 'a>, export: &ExportNamedDeclaration<'a>) {
    if export.export_kind.is_type() {
        return strip.blank_statement(export.span);
    }
    for specifier in &export.specifiers {
        let name = specifier.local.name();
        let name = name.as_str();
        let is_type = strip.types.contains(name) && !strip.declared.contains(name);
        if specifier.export_kind.is_type() || is_type {
            remove_from_list(strip, specifier.span);
        } else {
            strip.exports.handler |= is_handler(&specifier.exported);
        }
    }
}

fn remove_from_list(strip: &mut Strip<'_, '_>, span: Span) {
    strip.blank(span);
    if let Some(comma) = strip.text.next_is(span.end, b',') {
        strip.edits.blank(comma, comma + 1);
    }
}
