//! The template language: an allow-list of a small part of Jinja (variables, filters, tests, comparisons, arithmetic,
//! `if` and `for`). Everything else is refused when a template is stored.
//!
//! Templates are untrusted programs. The library counts the steps of a rendering, but some of its features cost much
//! more than the steps that it counts for them, need a deep stack, or panic. Measurements have shown that the cost of
//! each allowed feature is proportional to its steps.

use std::collections::BTreeSet;

use minijinja::{
    machinery::{
        Token,
        ast::{BinOpKind, CallArg, Expr, Filter, ForLoop, Stmt, Test},
        parse, tokenize,
    },
    syntax::SyntaxConfig,
    value::{Value, ValueKind},
};

use super::filters::{DIGITS_MAX, DIGITS_RULE};

/// Maximum number of tags (`{{ … }}` and `{% … %}`) in a part.
pub const TAGS_MAX: usize = 1_000;
/// Maximum number of tokens in a tag.
pub const TAG_TOKENS_MAX: usize = 100;
/// Maximum depth of nested brackets. Each level needs about 15 nested calls in the library's parser.
pub const BRACKETS_MAX: usize = 10;
/// Maximum depth of nested `if` and `for`.
pub const BLOCKS_MAX: usize = 10;
/// Maximum depth of nested `for`.
pub const LOOPS_MAX: usize = 2;
/// Maximum number of `elif` tags in a part. Each `elif` is a level of recursion in the library's compiler.
pub const BRANCHES_MAX: usize = 100;
/// Maximum length of a line, in characters. The library stores the column number in 16 bits. A longer line would
/// overflow it.
pub const LINE_CHARS_MAX: usize = 65_000;

/// The allowed filters, each with its minimum and maximum number of arguments. `items` is allowed in loops only.
pub const FILTERS: [(&str, usize, usize); 21] = [
    ("abs", 0, 0),
    ("capitalize", 0, 0),
    ("count", 0, 0),
    ("d", 1, 2),
    ("default", 1, 2),
    ("e", 0, 0),
    ("escape", 0, 0),
    ("first", 0, 0),
    ("float", 0, 1),
    ("int", 0, 1),
    ("join", 0, 1),
    ("last", 0, 0),
    ("length", 0, 0),
    ("lower", 0, 0),
    ("replace", 2, 2),
    ("round", 0, 1),
    ("safe", 0, 0),
    ("string", 0, 0),
    ("title", 0, 0),
    ("trim", 0, 0),
    ("upper", 0, 0),
];

/// The filters that return a number or fail.
const NUMBER_FILTERS: [&str; 6] = ["abs", "count", "float", "int", "length", "round"];

/// The allowed tests. They have no arguments.
pub const TESTS: [&str; 12] = [
    "boolean",
    "defined",
    "even",
    "false",
    "mapping",
    "none",
    "number",
    "odd",
    "sequence",
    "string",
    "true",
    "undefined",
];

/// The attributes of `loop` that are numbers.
const LOOP_NUMBERS: [&str; 5] = ["index", "index0", "length", "revindex", "revindex0"];

/// A part that has passed the check.
#[derive(Debug, PartialEq, Eq)]
pub struct Checked {
    /// The variables that the part uses.
    pub variables: BTreeSet<String>,
    pub tokens: usize,
}

/// A problem in a part, and its line.
type Problem = (String, u16);

/// Checks that a part uses only features of the language. If the check fails, returns the error message.
pub fn check(name: &str, source: &str) -> Result<Checked, String> {
    let explain = |(problem, line): Problem| format!("{problem} (in {name}:{line})");
    let tokens = check_tokens(source).map_err(explain)?;
    let parsed = parse(source, name, SyntaxConfig::default()).map_err(|error| error.to_string())?;
    let mut checker = Checker::default();
    checker.statement(&parsed).map_err(explain)?;
    Ok(Checked { variables: checker.used, tokens })
}

/// Refuses unknown tags, and sources that would need too much time or stack to parse and compile.
fn check_tokens(source: &str) -> Result<usize, Problem> {
    if source.split('\n').any(|line| line.chars().count() > LINE_CHARS_MAX) {
        return Err(("a line must have at most 65000 characters".to_owned(), 1));
    }
    let (mut tokens, mut tags, mut in_tag) = (0, 0, 0);
    let (mut brackets, mut blocks, mut branches) = (0_usize, 0_usize, 0);
    let mut begins_block = false;
    for token in tokenize(source, false, SyntaxConfig::default()) {
        let (token, span) = token.map_err(|error| {
            let (kind, detail) = (error.kind(), error.detail().unwrap_or_default());
            let line = u16::try_from(error.line().unwrap_or_default()).unwrap_or(u16::MAX);
            (format!("{kind}: {detail}"), line)
        })?;
        tokens += 1;
        in_tag += 1;
        let was_block_start = std::mem::take(&mut begins_block);
        let mut unknown_tag = None;
        match token {
            Token::VariableStart | Token::BlockStart => {
                (tags, in_tag, brackets) = (tags + 1, 0, 0);
                begins_block = matches!(token, Token::BlockStart);
            }
            Token::TemplateData(_) | Token::VariableEnd | Token::BlockEnd => in_tag = 0,
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => brackets += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                brackets = brackets.saturating_sub(1);
            }
            Token::Ident(word) if was_block_start => match word {
                "if" | "for" => blocks += 1,
                "endif" | "endfor" => blocks = blocks.saturating_sub(1),
                "elif" => branches += 1,
                "else" => {}
                _ => unknown_tag = Some(word),
            },
            _ => {}
        }
        let problem = if let Some(word) = unknown_tag {
            format!("unknown tag {word} (expected if or for)")
        } else if in_tag > TAG_TOKENS_MAX {
            "a tag must have at most 100 tokens (names, values and operators)".to_owned()
        } else if brackets > BRACKETS_MAX {
            "brackets must be nested at most 10 deep".to_owned()
        } else if tags > TAGS_MAX {
            "a part must have at most 1000 tags".to_owned()
        } else if blocks > BLOCKS_MAX {
            "blocks must be nested at most 10 deep".to_owned()
        } else if branches > BRANCHES_MAX {
            "a part must have at most 100 elif tags".to_owned()
        } else {
            continue;
        };
        return Err((problem, span.start_line));
    }
    Ok(tokens)
}

/// Visits the syntax tree of a part.
#[derive(Default)]
struct Checker<'p> {
    /// The loop variables in scope.
    bound: Vec<&'p str>,
    /// The depth of nested loops.
    loops: usize,
    used: BTreeSet<String>,
}

impl<'p> Checker<'p> {
    fn statements(&mut self, statements: &'p [Stmt<'p>]) -> Result<(), Problem> {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &'p Stmt<'p>) -> Result<(), Problem> {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitExpr(emitted) => self.expression(&emitted.expr),
            Stmt::EmitRaw(_) => Ok(()),
            Stmt::IfCond(of) => {
                self.expression(&of.expr)?;
                self.statements(&of.true_body)?;
                self.statements(&of.false_body)
            }
            Stmt::ForLoop(of) => self.for_loop(of, of.span().start_line),
            // Other tags were refused by `check_tokens`.
            _ => Err(("the only tags are if and for".to_owned(), 1)),
        }
    }

    fn for_loop(&mut self, of: &'p ForLoop<'p>, line: u16) -> Result<(), Problem> {
        match &of.iter {
            Expr::Filter(items) if items.name == "items" && items.args.is_empty() => {
                items.expr.iter().try_for_each(|of| self.expression(of))?;
            }
            iter => self.expression(iter)?,
        }
        if of.recursive {
            return Err(("a loop must not be recursive".to_owned(), line));
        }
        if self.loops == LOOPS_MAX {
            return Err(("loops must be nested at most 2 deep".to_owned(), line));
        }
        let outside = self.bound.len();
        self.bind(&of.target);
        of.filter_expr.iter().try_for_each(|filter| self.expression(filter))?;
        self.bound.push("loop");
        self.loops += 1;
        self.statements(&of.body)?;
        self.loops -= 1;
        self.bound.truncate(outside);
        self.statements(&of.else_body)
    }

    /// Adds the names in a loop's target. A target is a name or a list of targets.
    fn bind(&mut self, target: &'p Expr<'p>) {
        match target {
            Expr::Var(name) => self.bound.push(name.id),
            Expr::List(list) => list.items.iter().for_each(|item| self.bind(item)),
            _ => {}
        }
    }

    fn expression(&mut self, expression: &'p Expr<'p>) -> Result<(), Problem> {
        let refuse = |problem: &str| Err((problem.to_owned(), expression.span().start_line));
        match expression {
            Expr::Const(_) => Ok(()),
            Expr::Var(name) => {
                if !self.bound.contains(&name.id) {
                    self.used.insert(name.id.to_owned());
                }
                Ok(())
            }
            Expr::GetAttr(of) => self.expression(&of.expr),
            Expr::GetItem(of) => self.expressions([&of.expr, &of.subscript_expr]),
            Expr::UnaryOp(of) => self.expression(&of.expr),
            Expr::BinOp(of) => {
                let are_numbers = [&of.left, &of.right].map(|operand| self.is_number(operand));
                match (of.op, are_numbers) {
                    (BinOpKind::Pow, _) => refuse("the operator ** is not supported"),
                    // It is enough that one operand is a number: adding a list to a number fails when the template is
                    // rendered.
                    (BinOpKind::Add, [false, false]) => {
                        refuse("+ needs a number, as in x|float + y; use ~ to join strings")
                    }
                    (BinOpKind::Mul, [false, _] | [_, false]) => {
                        refuse("* needs two numbers, as in x|float * y|int")
                    }
                    _ => self.expressions([&of.left, &of.right]),
                }
            }
            Expr::Compare(of) => {
                self.expression(&of.expr)?;
                self.expressions(of.ops.iter().map(|operation| &operation.expr))
            }
            Expr::IfExpr(of) => {
                self.expressions([&of.test_expr, &of.true_expr])?;
                self.expressions(&of.false_expr)
            }
            Expr::List(of) => self.expressions(&of.items),
            Expr::Tuple(of) => self.expressions(&of.items),
            Expr::Filter(of) => Self::filter(of).map_or_else(
                |problem| refuse(&problem),
                |()| self.expressions(of.expr.iter().chain(positional(&of.args))),
            ),
            Expr::Test(of) => check_test(of)
                .map_or_else(|problem| refuse(&problem), |()| self.expression(&of.expr)),
            Expr::Call(_) => refuse("function calls are not supported"),
            Expr::Slice(_) => refuse("slices are not supported"),
            Expr::Map(_) => refuse("map literals are not supported"),
        }
    }

    fn expressions(
        &mut self,
        expressions: impl IntoIterator<Item = &'p Expr<'p>>,
    ) -> Result<(), Problem> {
        expressions.into_iter().try_for_each(|expression| self.expression(expression))
    }

    fn filter(of: &Filter<'_>) -> Result<(), String> {
        let name = of.name;
        if name == "items" {
            return Err("items can be used in loops only, as in {% for key, value in map|items %}"
                .to_owned());
        }
        let Some((_, least, most)) = FILTERS.iter().find(|(known, ..)| *known == name) else {
            return Err(format!("unknown filter {name}"));
        };
        let count = of.args.len();
        if !(*least..=*most).contains(&count) || positional(&of.args).count() != count {
            let expected = match (least, most) {
                (0, 0) => "no arguments".to_owned(),
                (least, most) if least == most => format!("{most} arguments"),
                (least, most) => format!("{least} or {most} arguments"),
            };
            return Err(format!(
                "the filter {name} takes {expected} (keyword arguments are not supported)"
            ));
        }
        // An argument that is a variable is checked when the filter runs.
        let digits = positional(&of.args).next().filter(|_| name == "round").and_then(literal);
        if digits.is_some_and(|digits| !may_be_digits(digits)) {
            return Err(DIGITS_RULE.to_owned());
        }
        Ok(())
    }

    /// Returns whether the expression always results in a number, or fails.
    fn is_number(&self, expression: &Expr<'_>) -> bool {
        match expression {
            Expr::Const(of) => of.value.kind() == ValueKind::Number,
            Expr::UnaryOp(of) => self.is_number(&of.expr),
            Expr::BinOp(of) => match of.op {
                BinOpKind::Sub | BinOpKind::Div | BinOpKind::FloorDiv | BinOpKind::Rem => true,
                BinOpKind::Add => self.is_number(&of.left) || self.is_number(&of.right),
                BinOpKind::Mul => self.is_number(&of.left) && self.is_number(&of.right),
                _ => false,
            },
            // Some of these filters return their argument if the value is undefined.
            Expr::Filter(of) => {
                NUMBER_FILTERS.contains(&of.name)
                    && positional(&of.args).all(|argument| self.is_number(argument))
            }
            Expr::GetAttr(of) => {
                let is_loop = matches!(&of.expr, Expr::Var(name) if name.id == "loop");
                is_loop && self.bound.contains(&"loop") && LOOP_NUMBERS.contains(&of.name)
            }
            _ => false,
        }
    }
}

fn check_test(of: &Test<'_>) -> Result<(), String> {
    if !TESTS.contains(&of.name) {
        return Err(format!("unknown test {}", of.name));
    }
    if of.args.is_empty() { Ok(()) } else { Err(format!("the test {} takes no argument", of.name)) }
}

/// Returns the value of a literal, with or without a sign.
fn literal(expression: &Expr<'_>) -> Option<Value> {
    match expression {
        Expr::Const(of) => Some(of.value.clone()),
        Expr::UnaryOp(of) if matches!(of.expr, Expr::Const(_)) => expression.as_const(),
        _ => None,
    }
}

/// Returns whether the value is a valid argument for the filter `round`. `none` means 0.
fn may_be_digits(value: Value) -> bool {
    value.is_none() || usize::try_from(value).is_ok_and(|digits| digits <= DIGITS_MAX)
}

fn positional<'p>(arguments: &'p [CallArg<'p>]) -> impl Iterator<Item = &'p Expr<'p>> {
    arguments.iter().filter_map(|argument| match argument {
        CallArg::Pos(value) => Some(value),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
