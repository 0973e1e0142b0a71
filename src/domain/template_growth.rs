//! What a template may do with lists. The library's fuel pays for bytes and for most walks along lists, but not
//! for all: a list that is a sum, a multiple or a slice is made in one step, however long it is, and printed or
//! compared for nothing; lists within lists can share what they hold, so that ten levels of ten times the level
//! below are a hundred words of source, and walked for ever. So a template makes no list longer than those that
//! it is given: only what is surely a number or text is added up and multiplied, what the template has set
//! itself goes into no list and is not sliced.

use std::collections::HashSet;

use minijinja::{
    machinery::{
        ast::{BinOpKind, CallArg, Expr, Stmt},
        parse,
    },
    syntax::SyntaxConfig,
    value::ValueKind,
};

/// Filters that put what they are given into lists of their own.
pub const NESTING_FILTERS: [&str; 5] = ["batch", "chain", "groupby", "slice", "zip"];

/// Filters that give a number or text, or nothing at all.
const SINGLE_FILTERS: [&str; 12] = [
    "abs", "count", "escape", "float", "format", "int", "join", "length", "lower", "round", "trim",
    "upper",
];

/// Says what is wrong with a part that can be parsed, if its lists could grow by themselves.
pub fn check_growth(name: &str, source: &str) -> Result<(), String> {
    let Ok(parsed) = parse(source, name, SyntaxConfig::default()) else {
        // Whoever compiles it says so.
        return Ok(());
    };
    let mut found = Found::default();
    found.statement(&parsed);
    found.set.insert("loop");
    found.expressions.iter().try_for_each(|expression| {
        found.check(expression).map_err(|(what, line)| format!("{what} (in {name}:{line})"))
    })
}

/// What stands in a part.
#[derive(Default)]
struct Found<'p> {
    /// Names that the template gives values itself.
    set: HashSet<&'p str>,
    /// Those of them that are given what an expression makes, not an item of that or text.
    made: HashSet<&'p str>,
    expressions: Vec<&'p Expr<'p>>,
}

impl<'p> Found<'p> {
    fn statements(&mut self, statements: &'p [Stmt<'p>]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &'p Stmt<'p>) {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitExpr(emitted) => self.expressions.push(&emitted.expr),
            Stmt::EmitRaw(_) => {}
            Stmt::ForLoop(of) => {
                names(&of.target, &mut self.set);
                self.expressions.push(&of.iter);
                self.expressions.extend(&of.filter_expr);
                self.statements(&of.body);
                self.statements(&of.else_body);
            }
            Stmt::IfCond(of) => {
                self.expressions.push(&of.expr);
                self.statements(&of.true_body);
                self.statements(&of.false_body);
            }
            Stmt::WithBlock(of) => {
                for (target, value) in &of.assignments {
                    names(target, &mut self.set);
                    names(target, &mut self.made);
                    self.expressions.push(value);
                }
                self.statements(&of.body);
            }
            Stmt::Set(of) => {
                names(&of.target, &mut self.set);
                names(&of.target, &mut self.made);
                self.expressions.push(&of.expr);
            }
            Stmt::SetBlock(of) => {
                names(&of.target, &mut self.set);
                self.expressions.extend(&of.filter);
                self.statements(&of.body);
            }
            Stmt::AutoEscape(of) => {
                self.expressions.push(&of.enabled);
                self.statements(&of.body);
            }
            Stmt::FilterBlock(of) => {
                self.expressions.push(&of.filter);
                self.statements(&of.body);
            }
            Stmt::Do(of) => {
                self.expressions.push(&of.call.expr);
                self.expressions.extend(of.call.args.iter().map(argument));
            }
        }
    }

    /// What is wrong with an expression, and the line of that.
    fn check(&self, expression: &Expr<'_>) -> Result<(), (String, u16)> {
        let wrong = |what: String| Err((what, expression.span().start_line));
        match expression {
            Expr::List(_) | Expr::Tuple(_) | Expr::Map(_) => {
                if let Some(name) = name_of(expression, &self.set) {
                    return wrong(format!(
                        "{name} is set in the template, so no list or map may hold it"
                    ));
                }
            }
            Expr::Slice(slice) => {
                if let Some(name) = name_of(&slice.expr, &self.made) {
                    return wrong(format!("{name} is set in the template, so it cannot be sliced"));
                }
            }
            Expr::BinOp(of)
                if matches!(of.op, BinOpKind::Add | BinOpKind::Mul) && !is_single(expression) =>
            {
                return wrong(match of.op {
                    BinOpKind::Add => {
                        "+ takes numbers and text, as in x|float + y or x ~ y".to_owned()
                    }
                    _ => "* takes numbers and text, as in x|float * y|int".to_owned(),
                });
            }
            // Other forms apply a filter to each item, have a value for those without the attribute, or add up
            // lists.
            Expr::Filter(filter) if ["map", "sum"].contains(&filter.name) => {
                match filter.args[..] {
                    [CallArg::Kwarg("attribute", Expr::Const(_))] => {}
                    [] if filter.name == "sum" => {}
                    _ => {
                        return wrong(format!(
                            "{0} takes an attribute and nothing else, as in {0}(attribute=\"name\")",
                            filter.name
                        ));
                    }
                }
            }
            _ => {}
        }
        children(expression).into_iter().try_for_each(|inner| self.check(inner))
    }
}

/// The names of a target: it is a name, or a tuple of them.
fn names<'p>(target: &'p Expr<'p>, into: &mut HashSet<&'p str>) {
    if let Expr::Var(name) = target {
        into.insert(name.id);
    }
    for inner in children(target) {
        names(inner, into);
    }
}

/// A name in an expression that is one of these.
fn name_of<'p>(expression: &'p Expr<'p>, names: &HashSet<&str>) -> Option<&'p str> {
    match expression {
        Expr::Var(name) => names.contains(name.id).then_some(name.id),
        _ => children(expression).into_iter().find_map(|inner| name_of(inner, names)),
    }
}

/// Whether what an expression gives is surely no list.
fn is_single(expression: &Expr<'_>) -> bool {
    match expression {
        Expr::Const(of) => matches!(of.value.kind(), ValueKind::Number | ValueKind::String),
        Expr::UnaryOp(_) | Expr::Compare(_) | Expr::Test(_) => true,
        Expr::BinOp(of) => match of.op {
            BinOpKind::ScAnd | BinOpKind::ScOr => is_single(&of.left) && is_single(&of.right),
            // A list and something else cannot be added up, nor can a list be text's multiple.
            BinOpKind::Add => is_single(&of.left) || is_single(&of.right),
            BinOpKind::Mul => {
                let is_text = is_text(&of.left) || is_text(&of.right);
                is_text || is_single(&of.left) && is_single(&of.right)
            }
            _ => true,
        },
        Expr::IfExpr(of) => {
            is_single(&of.true_expr) && of.false_expr.as_ref().is_none_or(is_single)
        }
        // Some give what they are given in place of what is none.
        Expr::Filter(of) => {
            SINGLE_FILTERS.contains(&of.name) && of.args.iter().map(argument).all(is_single)
        }
        _ => false,
    }
}

fn is_text(expression: &Expr<'_>) -> bool {
    match expression {
        Expr::Const(of) => of.value.kind() == ValueKind::String,
        Expr::BinOp(of) => matches!(of.op, BinOpKind::Concat),
        _ => false,
    }
}

fn children<'p>(expression: &'p Expr<'p>) -> Vec<&'p Expr<'p>> {
    match expression {
        Expr::Var(_) | Expr::Const(_) => Vec::new(),
        Expr::Slice(of) => [Some(&of.expr), of.start.as_ref(), of.stop.as_ref(), of.step.as_ref()]
            .into_iter()
            .flatten()
            .collect(),
        Expr::UnaryOp(of) => vec![&of.expr],
        Expr::BinOp(of) => vec![&of.left, &of.right],
        Expr::Compare(of) => {
            [&of.expr].into_iter().chain(of.ops.iter().map(|op| &op.expr)).collect()
        }
        Expr::IfExpr(of) => {
            [&of.test_expr, &of.true_expr].into_iter().chain(&of.false_expr).collect()
        }
        Expr::Filter(of) => of.expr.iter().chain(of.args.iter().map(argument)).collect(),
        Expr::Test(of) => [&of.expr].into_iter().chain(of.args.iter().map(argument)).collect(),
        Expr::GetAttr(of) => vec![&of.expr],
        Expr::GetItem(of) => vec![&of.expr, &of.subscript_expr],
        Expr::Call(of) => [&of.expr].into_iter().chain(of.args.iter().map(argument)).collect(),
        Expr::List(of) => of.items.iter().collect(),
        Expr::Tuple(of) => of.items.iter().collect(),
        Expr::Map(of) => of.keys.iter().chain(&of.values).collect(),
    }
}

fn argument<'p>(argument: &'p CallArg<'p>) -> &'p Expr<'p> {
    match argument {
        CallArg::Pos(value)
        | CallArg::Kwarg(_, value)
        | CallArg::PosSplat(value)
        | CallArg::KwargSplat(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_makes_no_list_grow() {
        for source in [
            "{{ [a, b]|join(' ') }}",
            "{{ [a|upper, 'x' ~ b] }}{% set c = [a, [b]] %}{{ c[0] }}",
            "{% for k, v in [('x', 1), ('y', a)] %}{{ k }}{{ v }}{% endfor %}",
            "{{ {'x': a}.x }}{{ a|map(attribute='name')|join }}",
            "{% set c = a %}{{ c|list|sort|unique|join }}{{ a[1:] }}{{ a|sum }}",
            "{% for n in a %}{{ n[:1] }}{{ loop.index + 1 }}{% endfor %}{{ a|sum(attribute='n') }}",
            "{% set n %}x{% endset %}{{ n[:1] }}{{ a + 1 + b }}{{ 'x' + a }}{{ -a + b }}",
            "{{ a|float * b|int * 1.2 }}{{ 'x' * a }}{{ a * (b ~ '') }}{{ (a ~ b) * (a - b) }}{{ (1 if a else 2) * 3 }}",
            "{% set a, b = a %}{{ a }}{{ b }}",
        ] {
            assert_eq!(check_growth("SMS text", source), Ok(()), "{source}");
        }
        for (source, what) in [
            ("{% set v = [1] %}{% set w = [v, v] %}", "v is set"),
            ("{% set w = [v, v] %}{% set v = w %}", "v is set"),
            ("{% for v in a %}\\n{{ [[v]] }}{% endfor %}", "v is set"),
            ("{% for k, v in a %}{{ {'x': v} }}{% endfor %}", "v is set"),
            ("{% for x in a %}{{ [loop, loop] }}{% endfor %}", "loop is set"),
            ("{% with v = a %}{% for w in (v, v) %}{% endfor %}{% endwith %}", "v is set"),
            ("{% set v %}x{% endset %}{{ (v, v) }}", "v is set"),
            ("{% set v = a %}{{ 1 if 2 in [3 + v|length] else 4 }}", "v is set"),
            ("{% set v = a %}{{ x(y=[v]) }}", "v is set"),
            ("{% set v = a %}{% filter replace('a', {1: v}) %}{% endfilter %}", "v is set"),
            ("{% set v = a %}{% if v is eq([v]) %}{% endif %}", "v is set"),
            ("{% set v = a[1:] %}{{ v[1:] }}", "v is set"),
            ("{% with v = a %}{{ ((v or b)|sort)[1:] }}{% endwith %}", "v is set"),
            ("{{ a + b }}", "+ takes"),
            ("{{ (a or 1) + b }}", "+ takes"),
            ("{{ a[0] + (b if a) }}", "+ takes"),
            ("{% for x in a %}{{ loop.previtem + loop.index }}{% endfor %}", "+ takes"),
            ("{{ [1] + a }}", "+ takes"),
            ("{{ a * 2 }}", "* takes"),
            ("{{ 2 * a }}", "* takes"),
            ("{{ [1] * 2 }}", "* takes"),
            ("{{ a|default(1) * 2 }}", "* takes"),
            ("{{ (a + 1) * (b and 1) }}", "* takes"),
            ("{{ a|float(b) * 2 }}", "* takes"),
            ("{{ a|sum(start=b) }}", "sum takes"),
            ("{{ a|sum(attribute='x', start=b) }}", "sum takes"),
            ("{{ a|map('default', b) }}", "map takes"),
            ("{{ a|map(attribute='x', default=b) }}", "map takes"),
            ("{{ a|map(attribute=b) }}", "map takes"),
        ] {
            let problem = check_growth("SMS text", source).expect_err(source);
            assert!(problem.contains(what), "{source}: {problem}");
        }
    }
}
