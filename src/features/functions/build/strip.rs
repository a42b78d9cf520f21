//! From TypeScript to JavaScript by edits of the text: types become blanks, and the few forms that make code
//! (enums, namespaces, parameter properties) become that code in place.
//!
//! The walk also collects what the rest of the build asks of a file: its imports, the names it uses as values, what
//! it exports. JavaScript takes the same walk and comes out as it was, but for import bindings nobody uses.

use std::collections::HashSet;

use oxc_ast::ast::*;
use oxc_ast_visit::{Visit, walk};
use oxc_span::{GetSpan, Span};
use oxc_syntax::scope::ScopeFlags;

use super::{edits::Edits, enums::Enums, text::Text};

/// A form that cannot be brought into JavaScript, and where it stands.
#[derive(Debug)]
pub(super) struct Unsupported {
    pub at: u32,
    pub message: String,
}

/// An `import` or `export … from`, or `import("literal")`.
#[derive(Debug)]
pub(super) struct Import {
    pub specifier: String,
    /// The literal with its quotes.
    pub span: Span,
    pub dynamic: bool,
}

/// A statement whose bindings may be for types only.
pub(super) enum Binding<'t, 'a> {
    Import(&'t ImportDeclaration<'a>),
    Export(&'t ExportNamedDeclaration<'a>),
}

/// What a walk over a file gives.
pub(super) struct Strip<'t, 'a> {
    pub text: Text<'a>,
    pub typescript: bool,
    pub edits: Edits,
    pub imports: Vec<Import>,
    pub unsupported: Vec<Unsupported>,
    pub exports: Exports,
    /// Names that stand where a value is meant.
    pub values: HashSet<&'a str>,
    pub bindings: Vec<Binding<'t, 'a>>,
    /// Names of the file that are interfaces or type aliases, and names that are something at run time.
    pub types: HashSet<&'a str>,
    pub declared: HashSet<&'a str>,
    pub enums: Enums,
    /// Statement lists we are in: what they declare, and whether they are blocks.
    pub scopes: Vec<Scope>,
    /// The namespace that exports the namespace that comes next.
    pub exporting: Option<String>,
}

/// A statement list.
#[derive(Default)]
pub(super) struct Scope {
    /// Enums, namespaces, classes and functions so far: a second one of a name adds to the first.
    pub names: HashSet<String>,
    pub block: bool,
}

/// What an entry exports that a call could run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Exports {
    pub handler: bool,
    /// `export * from`: what it exports is another file's business.
    pub star: bool,
}

impl<'t, 'a> Strip<'t, 'a> {
    pub fn new(source: &'a str, typescript: bool) -> Self {
        Self {
            text: Text(source),
            typescript,
            edits: Edits::default(),
            imports: Vec::new(),
            unsupported: Vec::new(),
            exports: Exports::default(),
            values: HashSet::new(),
            bindings: Vec::new(),
            types: HashSet::new(),
            declared: HashSet::new(),
            enums: Enums::default(),
            scopes: Vec::new(),
            exporting: None,
        }
    }

    pub fn run(&mut self, program: &'t Program<'a>) {
        for statement in &program.body {
            match statement {
                Statement::ImportDeclaration(import) => self.bindings.push(Binding::Import(import)),
                Statement::ExportNamedDeclaration(export) => self.bindings.push(Binding::Export(export)),
                _ => {}
            }
        }
        self.visit_program(program);
        super::bindings::finish(self);
    }

    pub fn refuse(&mut self, at: u32, message: impl Into<String>) {
        self.unsupported.push(Unsupported { at, message: message.into() });
    }

    pub fn blank(&mut self, span: Span) {
        self.edits.blank(span.start, span.end);
    }

    /// Takes a whole statement out. What stays ends the statement before, which may have ended by a line break.
    pub fn blank_statement(&mut self, span: Span) {
        if span.size() == 0 {
            return;
        }
        let first = self.text.slice(span.start, span.end).chars().next().map_or(1, char::len_utf8);
        let rest = span.start + u32::try_from(first).unwrap_or(1);
        self.edits.replace(span.start, rest, ";");
        self.edits.blank(rest, span.end);
    }

    /// Blanks `byte` and what is before it, when it is the next token from `at`.
    fn blank_next(&mut self, at: u32, byte: u8) {
        if let Some(found) = self.text.next_is(at, byte) {
            self.edits.blank(found, found + 1);
        }
    }

    fn import(&mut self, source: &StringLiteral<'a>, dynamic: bool) {
        self.imports.push(Import { specifier: source.value.to_string(), span: source.span, dynamic });
    }

    /// Enters a statement list.
    pub fn scope(&mut self, statements: &[Statement<'a>], block: bool) {
        let mut names = HashSet::new();
        for statement in statements {
            let declaration = match statement {
                Statement::ExportDeclaration(export) => Some(&export.declaration),
                other => other.as_declaration(),
            };
            let id = match declaration {
                Some(Declaration::FunctionDeclaration(function)) if function.body.is_some() => function.id.as_ref(),
                Some(Declaration::ClassDeclaration(class)) if !class.declare => class.id.as_ref(),
                _ => None,
            };
            names.extend(id.map(|id| id.name.to_string()));
        }
        self.scopes.push(Scope { names, block });
    }

    /// The declaration an enum or a namespace starts with; nothing when the name is declared already.
    pub fn declare(&mut self, name: &str) -> String {
        let Some(scope) = self.scopes.last_mut() else { return format!("var {name}; ") };
        match (scope.names.insert(name.to_owned()), scope.block) {
            (false, _) => String::new(),
            (true, true) => format!("let {name}; "),
            (true, false) => format!("var {name}; "),
        }
    }

    /// A statement that ended by a line break and whose end is a type now.
    fn seal(&mut self, span: Span) {
        let ends = |byte: Option<u8>| matches!(byte, None | Some(b';' | b'}'));
        if self.typescript && span.end > 0 && self.text.byte(span.end - 1) != Some(b';') {
            let next = self.text.token(span.end);
            if !ends(self.text.byte(next)) {
                self.edits.seal(span.end, self.text.0.is_char_boundary(span.end as usize - 1));
            }
        }
    }

    /// Whether a declaration is for the compiler only.
    pub fn is_ambient(declaration: &Declaration<'a>) -> bool {
        match declaration {
            Declaration::VariableDeclaration(it) => it.declare,
            Declaration::FunctionDeclaration(it) => it.declare || it.body.is_none(),
            Declaration::ClassDeclaration(it) => it.declare,
            Declaration::TSTypeAliasDeclaration(_)
            | Declaration::TSInterfaceDeclaration(_)
            | Declaration::TSExternalModuleDeclaration(_)
            | Declaration::TSGlobalDeclaration(_) => true,
            Declaration::TSEnumDeclaration(it) => it.declare,
            Declaration::TSNamespaceDeclaration(it) => it.declare || !super::namespaces::makes_code(it),
            Declaration::TSImportEqualsDeclaration(_) => false,
        }
    }

    /// Notes the names of a declaration that is a statement of the file itself.
    fn note_names(&mut self, declaration: &Declaration<'a>) {
        match declaration {
            Declaration::TSTypeAliasDeclaration(it) => _ = self.types.insert(it.id.name.as_str()),
            Declaration::TSInterfaceDeclaration(it) => _ = self.types.insert(it.id.name.as_str()),
            Declaration::FunctionDeclaration(it) => self.declared.extend(it.id.as_ref().map(|id| id.name.as_str())),
            Declaration::ClassDeclaration(it) => self.declared.extend(it.id.as_ref().map(|id| id.name.as_str())),
            Declaration::TSEnumDeclaration(it) => _ = self.declared.insert(it.id.name.as_str()),
            Declaration::TSNamespaceDeclaration(it) => {
                let names = if Self::is_ambient(declaration) { &mut self.types } else { &mut self.declared };
                names.insert(it.id.name.as_str());
            }
            Declaration::VariableDeclaration(it) => {
                for declarator in &it.declarations {
                    self.declared.extend(declarator.id.get_binding_identifiers().iter().map(|id| id.name.as_str()));
                }
            }
            _ => {}
        }
    }

    /// Modifiers of a class member, in front of its name.
    fn modifiers(&mut self, member: Span, key: u32) {
        for (at, word) in self.text.words(member.start, key) {
            if !matches!(word, "public" | "private" | "protected" | "readonly" | "override" | "abstract" | "declare") {
                continue;
            }
            let end = at + u32::try_from(word.len()).unwrap_or(0);
            if at == member.start {
                // The member before may have ended by a line break alone.
                self.edits.replace(at, at + 1, ";");
                self.edits.blank(at + 1, end);
            } else {
                self.edits.blank(at, end);
            }
        }
    }

    /// Where the name of a member ends, bracket included.
    fn key_end(&self, key: &PropertyKey<'a>, computed: bool) -> u32 {
        let end = key.span().end;
        if !computed {
            return end;
        }
        self.text.next_is(end, b']').map_or(end, |at| at + 1)
    }

    fn no_decorators(&mut self, decorators: &[Decorator<'a>]) {
        if let Some(first) = decorators.first() {
            self.refuse(
                first.span.start,
                "Decorators are not part of the language the sandbox runs: compile them away before you deploy.",
            );
        }
    }

    /// `constructor(private x: T)`: the parameter becomes a field when the constructor runs.
    fn parameter_properties(&mut self, class: &Class<'a>) {
        for element in &class.body.body {
            let ClassElement::MethodDefinition(method) = element else { continue };
            let Some(body) = method.value.body.as_ref().filter(|_| method.kind == MethodDefinitionKind::Constructor)
            else {
                continue;
            };
            let mut fields = String::new();
            for parameter in &method.value.params.items {
                if parameter.accessibility.is_none() && !parameter.readonly && !parameter.r#override {
                    continue;
                }
                match &parameter.pattern {
                    BindingPattern::BindingIdentifier(id) => fields.push_str(&format!("this.{0} = {0};", id.name)),
                    other => self.refuse(other.span().start, "A parameter property has a plain name."),
                }
            }
            if fields.is_empty() {
                continue;
            }
            let at = if class.heritage.is_some() {
                let call = body.statements.iter().find(|statement| is_super_call(statement));
                call.map_or(body.span.start + 1, |call| call.span().end)
            } else {
                body.directives.last().map_or(body.span.start + 1, |last| last.span.end)
            };
            self.edits.insert(at, format!(";{fields}"));
        }
    }

    fn generics(&mut self, parameters: Option<&TSTypeParameterDeclaration<'a>>) {
        if let Some(parameters) = parameters {
            self.blank(parameters.span);
        }
    }

    fn type_expression(&mut self, expression: &Expression<'a>, whole: Span) {
        self.edits.blank(expression.span().end, whole.end);
        self.visit_expression(expression);
    }
}

fn is_super_call(statement: &Statement<'_>) -> bool {
    let Statement::ExpressionStatement(statement) = statement else { return false };
    matches!(&statement.expression, Expression::CallExpression(call) if matches!(call.callee, Expression::Super(_)))
}

impl<'a> Visit<'a> for Strip<'_, 'a> {
    fn visit_program(&mut self, it: &Program<'a>) {
        self.scope(&it.body, false);
        for statement in &it.body {
            let declaration = match statement {
                Statement::ExportDeclaration(export) => Some(&export.declaration),
                other => other.as_declaration(),
            };
            if let Some(declaration) = declaration {
                self.note_names(declaration);
            }
        }
        walk::walk_program(self, it);
        self.scopes.pop();
    }

    fn visit_statement(&mut self, it: &Statement<'a>) {
        if let Some(declaration) = it.as_declaration()
            && Self::is_ambient(declaration)
        {
            return self.blank_statement(it.span());
        }
        walk::walk_statement(self, it);
        self.seal(it.span());
    }

    fn visit_function_body(&mut self, it: &FunctionBody<'a>) {
        self.scope(&it.statements, false);
        walk::walk_function_body(self, it);
        self.scopes.pop();
    }

    fn visit_block_statement(&mut self, it: &BlockStatement<'a>) {
        self.scope(&it.body, true);
        walk::walk_block_statement(self, it);
        self.scopes.pop();
    }

    fn visit_static_block(&mut self, it: &StaticBlock<'a>) {
        self.scope(&it.body, false);
        walk::walk_static_block(self, it);
        self.scopes.pop();
    }

    fn visit_identifier_reference(&mut self, it: &IdentifierReference<'a>) {
        self.values.insert(it.name.as_str());
        if let Some(qualifier) = self.enums.qualifier(it.name.as_str()) {
            self.edits.insert(it.span.start, qualifier);
        }
    }

    // ---- modules ----

    fn visit_import_declaration(&mut self, _: &ImportDeclaration<'a>) {
        // Its bindings are looked at when it is known which names are used: see `bindings`.
    }

    fn visit_export_named_declaration(&mut self, _: &ExportNamedDeclaration<'a>) {
        // So are exports, which may name types: see `bindings`.
    }

    fn visit_export_from_declaration(&mut self, it: &ExportFromDeclaration<'a>) {
        if it.export_kind.is_type() {
            return self.blank_statement(it.span);
        }
        let mut kept = it.specifiers.is_empty();
        for specifier in &it.specifiers {
            if specifier.export_kind.is_type() {
                self.blank(specifier.span);
                self.blank_next(specifier.span.end, b',');
            } else {
                kept = true;
                self.exports.handler |= is_handler(&specifier.exported);
            }
        }
        if kept {
            self.import(&it.source, false);
        } else {
            self.blank_statement(it.span);
        }
    }

    fn visit_export_all_declaration(&mut self, it: &ExportAllDeclaration<'a>) {
        if it.export_kind.is_type() {
            return self.blank_statement(it.span);
        }
        self.exports.star |= it.exported.is_none();
        self.exports.handler |= it.exported.as_ref().is_some_and(is_handler);
        self.import(&it.source, false);
    }

    fn visit_export_declaration(&mut self, it: &ExportDeclaration<'a>) {
        if Self::is_ambient(&it.declaration) {
            return self.blank_statement(it.span);
        }
        self.exports.handler |= match &it.declaration {
            Declaration::FunctionDeclaration(function) => function.id.as_ref().is_some_and(|id| id.name == "handler"),
            Declaration::ClassDeclaration(class) => class.id.as_ref().is_some_and(|id| id.name == "handler"),
            Declaration::VariableDeclaration(it) => it
                .declarations
                .iter()
                .any(|declarator| declarator.id.get_binding_identifiers().iter().any(|id| id.name == "handler")),
            _ => false,
        };
        // A second enum of a name adds to the first, which is exported already.
        if let Declaration::TSEnumDeclaration(declaration) = &it.declaration
            && self.scopes.last().is_some_and(|scope| scope.names.contains(declaration.id.name.as_str()))
        {
            self.edits.blank(it.span.start, declaration.span.start);
        }
        if let Declaration::TSNamespaceDeclaration(declaration) = &it.declaration
            && self.scopes.last().is_some_and(|scope| scope.names.contains(declaration.id.name.as_str()))
        {
            self.edits.blank(it.span.start, declaration.span.start);
        }
        walk::walk_export_declaration(self, it);
    }

    fn visit_export_default_declaration(&mut self, it: &ExportDefaultDeclaration<'a>) {
        match &it.declaration {
            ExportDefaultDeclarationKind::TSInterfaceDeclaration(_) => return self.blank_statement(it.span),
            ExportDefaultDeclarationKind::FunctionDeclaration(function) if function.body.is_none() => {
                return self.blank_statement(it.span);
            }
            ExportDefaultDeclarationKind::Identifier(name)
                if self.types.contains(name.name.as_str()) && !self.declared.contains(name.name.as_str()) =>
            {
                return self.blank_statement(it.span);
            }
            _ => {}
        }
        self.exports.handler = true;
        walk::walk_export_default_declaration(self, it);
    }

    fn visit_import_expression(&mut self, it: &ImportExpression<'a>) {
        if let Expression::StringLiteral(source) = &it.source {
            self.import(source, true);
        }
        walk::walk_import_expression(self, it);
    }

    fn visit_ts_export_assignment(&mut self, it: &TSExportAssignment<'a>) {
        self.refuse(it.span.start, "`export =` is CommonJS, and functions are ES modules: write `export default`.");
    }

    fn visit_ts_import_equals_declaration(&mut self, it: &TSImportEqualsDeclaration<'a>) {
        if it.import_kind.is_type() {
            return self.blank_statement(it.span);
        }
        self.refuse(it.span.start, "`import … =` is not supported: write `import … from`, or `const … =`.");
    }

    fn visit_ts_namespace_export_declaration(&mut self, it: &TSNamespaceExportDeclaration<'a>) {
        self.blank_statement(it.span);
    }

    // ---- declarations that make code ----

    fn visit_ts_enum_declaration(&mut self, it: &TSEnumDeclaration<'a>) {
        super::enums::declaration(self, it);
    }

    fn visit_ts_namespace_declaration(&mut self, it: &TSNamespaceDeclaration<'a>) {
        super::namespaces::declaration(self, it);
    }

    // ---- functions ----

    fn visit_function(&mut self, it: &Function<'a>, _: ScopeFlags) {
        self.generics(it.type_parameters.as_deref());
        if let Some(this) = &it.this_param {
            self.blank(this.span);
            self.blank_next(this.span.end, b',');
        }
        for parameter in &it.params.items {
            self.visit_formal_parameter(parameter);
        }
        if let Some(rest) = &it.params.rest {
            self.visit_formal_parameter_rest(rest);
        }
        if let Some(returned) = &it.return_type {
            self.visit_ts_type_annotation(returned);
        }
        if let Some(body) = &it.body {
            self.visit_function_body(body);
        }
    }

    fn visit_formal_parameter(&mut self, it: &FormalParameter<'a>) {
        self.no_decorators(&it.decorators);
        let pattern = it.pattern.span();
        if it.accessibility.is_some() || it.readonly || it.r#override {
            for (at, word) in self.text.words(it.span.start, pattern.start) {
                self.edits.blank(at, at + u32::try_from(word.len()).unwrap_or(0));
            }
        }
        if it.optional {
            self.blank_next(pattern.end, b'?');
        }
        self.visit_binding_pattern(&it.pattern);
        if let Some(annotation) = &it.type_annotation {
            self.visit_ts_type_annotation(annotation);
        }
        if let Some(initializer) = &it.initializer {
            self.visit_expression(initializer);
        }
    }

    fn visit_formal_parameter_rest(&mut self, it: &FormalParameterRest<'a>) {
        self.no_decorators(&it.decorators);
        walk::walk_formal_parameter_rest(self, it);
    }

    fn visit_arrow_function_expression(&mut self, it: &ArrowFunctionExpression<'a>) {
        // No line break may stand before the parameters of an async arrow, nor before `=>`: brackets move to where
        // a type spanning lines would leave one.
        if let Some(generics) = &it.type_parameters {
            let open = self.text.next_is(generics.span.end, b'(');
            match open.filter(|open| it.r#async && self.text.slice(generics.span.start, *open).contains('\n')) {
                Some(open) => {
                    self.edits.replace(generics.span.start, generics.span.start + 1, "(");
                    self.edits.blank(generics.span.start + 1, open + 1);
                }
                None => self.blank(generics.span),
            }
        }
        for parameter in &it.params.items {
            self.visit_formal_parameter(parameter);
        }
        if let Some(rest) = &it.params.rest {
            self.visit_formal_parameter_rest(rest);
        }
        if let Some(returned) = &it.return_type {
            let close = it.params.span.end.saturating_sub(1);
            let end = returned.span.end;
            if self.text.slice(close, end).contains('\n') && self.text.byte(close) == Some(b')') {
                self.edits.blank(close, end);
                self.edits.insert(end, ")");
            } else {
                self.visit_ts_type_annotation(returned);
            }
        }
        self.visit_arrow_function_body(&it.body);
    }

    fn visit_variable_declarator(&mut self, it: &VariableDeclarator<'a>) {
        if it.definite {
            self.blank_next(it.id.span().end, b'!');
        }
        walk::walk_variable_declarator(self, it);
    }

    // ---- classes ----

    fn visit_class(&mut self, it: &Class<'a>) {
        self.no_decorators(&it.decorators);
        for (at, word) in self.text.words(it.span.start, it.body.span.start) {
            match word {
                "abstract" => self.edits.blank(at, at + 8),
                _ => break,
            }
        }
        self.generics(it.type_parameters.as_deref());
        let mut end = it.type_parameters.as_ref().map(|generics| generics.span.end);
        end = end.or(it.id.as_ref().map(|id| id.span.end));
        if let Some(heritage) = &it.heritage {
            self.visit_expression(&heritage.expression);
            end = Some(heritage.expression.span().end);
            if let Some(arguments) = &heritage.type_arguments {
                self.blank(arguments.span);
                end = Some(arguments.span.end);
            }
        }
        if let (Some(first), Some(last)) = (it.implements.first(), it.implements.last()) {
            // An anonymous class has nothing before the word but `class`.
            let from = end.unwrap_or_else(|| {
                let words = self.text.words(it.span.start, first.span.start);
                words.iter().find(|(_, word)| *word == "implements").map_or(first.span.start, |(at, _)| *at)
            });
            let last = last.type_arguments.as_ref().map_or(last.span.end, |arguments| arguments.span.end);
            self.edits.blank(self.text.token(from), last);
        }
        self.parameter_properties(it);
        self.visit_class_body(&it.body);
    }

    fn visit_ts_index_signature(&mut self, it: &TSIndexSignature<'a>) {
        self.blank_statement(it.span);
    }

    fn visit_method_definition(&mut self, it: &MethodDefinition<'a>) {
        if it.value.body.is_none() {
            return self.blank_statement(it.span);
        }
        self.no_decorators(&it.decorators);
        self.modifiers(it.span, it.key.span().start);
        if it.optional {
            self.blank_next(self.key_end(&it.key, it.computed), b'?');
        }
        self.visit_property_key(&it.key);
        self.visit_function(&it.value, ScopeFlags::Function);
    }

    fn visit_property_definition(&mut self, it: &PropertyDefinition<'a>) {
        if it.declare || it.r#type == PropertyDefinitionType::TSAbstractPropertyDefinition {
            return self.blank_statement(it.span);
        }
        self.no_decorators(&it.decorators);
        self.modifiers(it.span, it.key.span().start);
        let end = self.key_end(&it.key, it.computed);
        if it.optional {
            self.blank_next(end, b'?');
        }
        if it.definite {
            self.blank_next(end, b'!');
        }
        walk::walk_property_definition(self, it);
        self.seal(it.span);
    }

    fn visit_accessor_property(&mut self, it: &AccessorProperty<'a>) {
        self.refuse(it.span.start, "`accessor` fields are not part of the language the sandbox runs.");
    }

    // ---- expressions ----

    fn visit_ts_as_expression(&mut self, it: &TSAsExpression<'a>) {
        self.type_expression(&it.expression, it.span);
    }

    fn visit_ts_satisfies_expression(&mut self, it: &TSSatisfiesExpression<'a>) {
        self.type_expression(&it.expression, it.span);
    }

    fn visit_ts_non_null_expression(&mut self, it: &TSNonNullExpression<'a>) {
        self.type_expression(&it.expression, it.span);
    }

    fn visit_ts_instantiation_expression(&mut self, it: &TSInstantiationExpression<'a>) {
        self.type_expression(&it.expression, it.span);
    }

    /// `<T>value` becomes `(value)`: the brackets keep an object an expression, and a line break harmless.
    fn visit_ts_type_assertion(&mut self, it: &TSTypeAssertion<'a>) {
        let expression = it.expression.span();
        self.edits.replace(it.span.start, it.span.start + 1, "(");
        self.edits.blank(it.span.start + 1, expression.start);
        self.visit_expression(&it.expression);
        self.edits.insert(expression.end, ")");
    }

    fn visit_jsx_element(&mut self, it: &JSXElement<'a>) {
        self.refuse(it.span.start, "JSX is not supported: compile it away before you deploy.");
    }

    fn visit_jsx_fragment(&mut self, it: &JSXFragment<'a>) {
        self.refuse(it.span.start, "JSX is not supported: compile it away before you deploy.");
    }

    // ---- types ----

    fn visit_ts_type_annotation(&mut self, it: &TSTypeAnnotation<'a>) {
        self.blank(it.span);
    }

    fn visit_ts_type_parameter_declaration(&mut self, it: &TSTypeParameterDeclaration<'a>) {
        self.blank(it.span);
    }

    fn visit_ts_type_parameter_instantiation(&mut self, it: &TSTypeParameterInstantiation<'a>) {
        self.blank(it.span);
    }
}

pub(super) fn is_handler(name: &ModuleExportName<'_>) -> bool {
    matches!(name.name().as_str(), "default" | "handler")
}
