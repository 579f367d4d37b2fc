//! What calls cost at most, and how large their results get.

use cel::common::ast::operators;

use super::{Coster, Estimate, LIST, PATTERN, Place, Range, TRAVERSAL, by, size_at};
use crate::cel::check::Called;
use crate::cel::functions::Overload;
use crate::cel::macros::SORT;
use crate::cel::types::Type;

/// What a question to the authorizer costs: two of them may be in an expression.
const AUTHORIZATION: u64 = 350_000;
/// The largest pattern of a named format.
const FORMAT_PATTERN: f64 = 128.0;

impl<'a> Coster<'a> {
    /// The most that one of the overloads costs, without its arguments, and the size of the result.
    pub(super) fn overloads(
        &self,
        called: &Called,
        target: Option<&Estimate<'a>>,
        args: &[Estimate<'a>],
    ) -> (u64, Option<Range>) {
        let (mut most, mut size) = (0, None);
        for overload in &called.overloads {
            let (cost, of) = self.overload(called.name, overload, target, args);
            most = most.max(cost);
            size = match (size, of) {
                (Some(a), Some(b)) => Some(Range::union(a, b)),
                (a, b) => a.or(b),
            };
        }
        (most, size)
    }

    #[allow(clippy::too_many_lines, reason = "a table, a line or two for each function")]
    fn overload(
        &self,
        name: &str,
        overload: &Overload,
        target: Option<&Estimate<'a>>,
        args: &[Estimate<'a>],
    ) -> (u64, Option<Range>) {
        let sized = |index: usize| args.get(index).map_or(Range::UNKNOWN, Estimate::size);
        let of_target = target.map_or(Range::UNKNOWN, Estimate::size);
        let traversed = |size: Range| (size.by(TRAVERSAL), None);
        match name {
            "check" => (AUTHORIZATION, None),
            "fieldSelector" | "labelSelector" => traversed(sized(0)),
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => (self.compared(target), None),
            "url" | "jsonpatch.escapeKey" => (sized(0).by(TRAVERSAL), Some(sized(0))),
            "lowerAscii" | "upperAscii" | "substring" | "trim" => (of_target.by(TRAVERSAL), Some(of_target)),
            "replace" => (
                of_target.by(2.0 * TRAVERSAL),
                Some(replaced(of_target, sized(0), sized(1))),
            ),
            "split" => {
                let most = args.get(1).and_then(|limit| limit.number);
                #[allow(
                    clippy::cast_sign_loss,
                    reason = "as upstream has it: a negative limit is none"
                )]
                let most = most.map_or(of_target.max, |most| most as u64);
                (of_target.by(2.0 * TRAVERSAL), Some(Range::up_to(most)))
            }
            "join" => {
                let size = self.joined(target, args.first());
                (size.by(TRAVERSAL), Some(size))
            }
            "find" | "findAll" => (pattern(of_target, sized(0)), Some(Range::up_to(of_target.max))),
            "matches" if target.is_some() => (pattern(of_target, sized(0)), None),
            "ip" if target.is_some() => (1, None),
            "ip.isCanonical" => (sized(0).by(2.0 * TRAVERSAL), None),
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
                traversed(sized(0))
            }
            "containsIP" | "containsCIDR" => (contained(name, overload, sized(0)), None),
            "validate" => (by(sized(0).by(TRAVERSAL), FORMAT_PATTERN * PATTERN), None),
            "format" => traversed(of_target),
            "startsWith" | "endsWith" => traversed(sized(0)),
            "contains" => (
                of_target.by(TRAVERSAL).saturating_mul(sized(0).by(TRAVERSAL)),
                None,
            ),
            "sets.contains" | "sets.intersects" => (sized(0).times(sized(1)).max.saturating_add(1), None),
            "sets.equivalent" => (sized(0).times(sized(1)).by(2.0).saturating_add(1), None),
            operators::IN if matches!(overload.args.get(1), Some(Type::List(_))) => (sized(1).max, None),
            operators::ADD => added(overload, sized(0), sized(1)),
            operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS
                if matches!(overload.args.first(), Some(Type::String | Type::Bytes)) =>
            {
                (by(sized(0).max.min(sized(1).max), TRAVERSAL), None)
            }
            "bytes" if overload.args == [Type::String] => {
                let size = sized(0);
                let largest = Range {
                    min: size.min,
                    max: size.max.saturating_mul(4),
                };
                (size.by(TRAVERSAL), Some(largest))
            }
            "string" if overload.args == [Type::Bytes] => {
                let size = sized(0);
                (
                    size.by(TRAVERSAL),
                    Some(Range {
                        min: size.min / 4,
                        max: size.max,
                    }),
                )
            }
            "strings.quote" => {
                let size = sized(0);
                let quoted = size.plus(size).plus(Range::exactly(2));
                (
                    size.by(TRAVERSAL),
                    Some(Range {
                        min: size.min.saturating_add(2),
                        ..quoted
                    }),
                )
            }
            _ => lists(name, overload, of_target, args).unwrap_or((1, None)),
        }
    }

    /// What comparing all items of a list costs; a text is gone through.
    fn compared(&self, target: Option<&Estimate<'a>>) -> u64 {
        let Some(target) = target else { return 1 };
        let item = match &target.ty {
            Type::List(item) => item,
            Type::Map(key, _) => key,
            _ => return target.size().by(TRAVERSAL),
        };
        let each = match **item {
            Type::String | Type::Bytes => self.items_of(target).by(TRAVERSAL).saturating_add(1),
            _ => 1,
        };
        target.size().max.saturating_mul(each)
    }

    /// The size of the items of what stands somewhere.
    fn items_of(&self, list: &Estimate<'a>) -> Range {
        match list.place {
            Place::Nowhere => Range::UNKNOWN,
            place => size_at(self.items(place)).unwrap_or(Range::UNKNOWN),
        }
    }

    fn joined(&self, target: Option<&Estimate<'a>>, separator: Option<&Estimate<'a>>) -> Range {
        let Some(target) = target else {
            return Range::UNKNOWN;
        };
        let list = target.size();
        let items = list.times(self.items_of(target));
        let between = Range {
            min: list.min.saturating_sub(1),
            max: list.max.saturating_sub(1),
        };
        separator.map_or(items, |separator| items.plus(separator.size().times(between)))
    }
}

/// What it costs to compare two values.
pub(super) fn equality(name: &str, a: &Estimate<'_>, b: &Estimate<'_>) -> u64 {
    if name == operators::EQUALS
        && a.ty == b.ty
        && let Type::Opaque(kind) = a.ty
    {
        return match kind {
            "kubernetes.URL" => by(b.size().max, TRAVERSAL).max(1),
            "kubernetes.NamedFormat" => by(64, TRAVERSAL),
            _ => 1,
        };
    }
    by(a.size().max.min(b.size().max), TRAVERSAL)
}

/// A pattern held against a text. One is added to the text, for an empty one does not make the pattern cheap.
fn pattern(text: Range, pattern: Range) -> u64 {
    let text = text.plus(Range::ONE).by(TRAVERSAL);
    text.saturating_mul(pattern.by(PATTERN))
}

fn contained(name: &str, overload: &Overload, text: Range) -> u64 {
    let address = 16;
    let mut cost = by(2 * address, TRAVERSAL);
    if name == "containsCIDR" {
        cost += by(address, TRAVERSAL) + 1;
    }
    match overload.args.get(1) {
        Some(Type::String) => cost.saturating_add(text.by(TRAVERSAL)),
        _ => cost,
    }
}

fn added(overload: &Overload, a: Range, b: Range) -> (u64, Option<Range>) {
    let size = a.plus(b);
    match overload.args.first() {
        Some(Type::String | Type::Bytes) => (size.by(TRAVERSAL), Some(size)),
        Some(Type::List(_)) => (1, Some(size)),
        _ => (1, None),
    }
}

/// The size of a text in which parts are replaced.
fn replaced(text: Range, part: Range, with: Range) -> Range {
    let (most, kept_most) = if part.min == 0 {
        (text.max.saturating_add(1), text.max)
    } else if with.max <= part.min {
        (0, text.max)
    } else {
        (text.max.div_ceil(part.min), 0)
    };
    let (least, kept_least) = if part.max == 0 {
        (text.min.saturating_add(1), text.min)
    } else if part.max <= with.min {
        (0, text.min)
    } else {
        (text.min.div_ceil(part.max), 0)
    };
    let count = Range {
        min: least,
        max: most,
    };
    count.times(with).plus(Range {
        min: kept_least,
        max: kept_most,
    })
}

/// The functions of lists that make new ones.
fn lists(
    name: &str,
    overload: &Overload,
    target: Range,
    args: &[Estimate<'_>],
) -> Option<(u64, Option<Range>)> {
    #[allow(clippy::cast_sign_loss, reason = "as upstream has it")]
    let number = |index: usize, other: u64| {
        let found = args.get(index).and_then(|arg| arg.number);
        found.map_or(other, |number| number as u64)
    };
    let made = |factor: f64, size: Range| Some((size.by(factor).saturating_add(1 + LIST), Some(size)));
    let sorted = |list: Range, item: Option<&Type>| {
        let text = matches!(item, Some(Type::String | Type::Bytes));
        made(if text { 2.0 + TRAVERSAL } else { 2.0 }, list.times(list))
    };
    let item = |index: usize| match overload.args.get(index) {
        Some(Type::List(item)) => Some(&**item),
        _ => None,
    };
    match name {
        "slice" => {
            let (start, end) = (number(0, 0), number(1, target.max));
            made(1.0, Range::exactly(end.saturating_sub(start)))
        }
        "lists.range" => made(1.0, Range::exactly(number(0, u64::MAX))),
        "reverse" if matches!(overload.args.first(), Some(Type::List(_))) => made(1.0, target),
        "flatten" => {
            #[allow(clippy::cast_precision_loss, reason = "as upstream computes it")]
            let depth = if args.is_empty() {
                1.0
            } else {
                number(0, u64::MAX) as f64
            };
            made(depth, target)
        }
        "distinct" => made(2.0, target.times(target)),
        "sort" => sorted(target, item(0)),
        SORT => sorted(args.first().map_or(Range::UNKNOWN, Estimate::size), item(1)),
        _ => None,
    }
}
