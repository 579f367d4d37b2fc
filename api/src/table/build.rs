//! The words that the generated table is written in: `const` functions that make types and fields from few facts.

use super::{Field, Gvk, Item, ListType, Omit, Outer, PatchStrategy, Shape, Ty, Type};

pub(super) const STR: Ty = bare(Item::String);
pub(super) const I32: Ty = bare(Item::Int32);
pub(super) const I64: Ty = bare(Item::Int64);
pub(super) const F64: Ty = bare(Item::Double);
pub(super) const BOOL: Ty = bare(Item::Bool);
pub(super) const BYTES: Ty = bare(Item::Bytes);

const fn bare(item: Item) -> Ty {
    Ty {
        outer: Outer::Value,
        item,
    }
}

/// A value of another type.
pub(super) const fn r(ty: &'static Type) -> Ty {
    bare(Item::Type(ty))
}

/// A list.
pub(super) const fn list(ty: Ty) -> Ty {
    Ty {
        outer: Outer::List,
        item: ty.item,
    }
}

/// A map; of lists when given a list.
pub(super) const fn map(ty: Ty) -> Ty {
    let outer = match ty.outer {
        Outer::List => Outer::MapOfLists,
        _ => Outer::Map,
    };
    Ty { outer, item: ty.item }
}

/// A type without fields.
pub(super) const fn ty(name: &'static str, message: &'static str) -> Type {
    Type {
        name,
        message,
        gvk: None,
        shape: Shape::Struct,
        fields: &[],
        by_number: &[],
        atomic: false,
        unions: &[],
    }
}

impl Type {
    pub(super) const fn gvk(
        mut self,
        group: &'static str,
        version: &'static str,
        kind: &'static str,
    ) -> Self {
        self.gvk = Some(Gvk { group, version, kind });
        self
    }

    pub(super) const fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    pub(super) const fn atomic(mut self) -> Self {
        self.atomic = true;
        self
    }
}

/// A field that Go omits when empty and that is no pointer: the most frequent sort.
pub(super) const fn f(name: &'static str, number: u32, ty: Ty) -> Field {
    Field {
        name,
        ty,
        number,
        inside: &[],
        wrapped: false,
        required: false,
        pointer: false,
        omit: Omit::Empty,
        default: None,
        enum_values: &[],
        list_type: ListType::Unset,
        list_map_keys: &[],
        atomic: false,
        granular: false,
        patch_strategy: PatchStrategy {
            merge: false,
            retain_keys: false,
            replace: false,
        },
        patch_merge_key: "",
        go: "",
        go_at: "",
    }
}

impl Field {
    pub(super) const fn inside(mut self, numbers: &'static [u32]) -> Self {
        self.inside = numbers;
        self
    }

    pub(super) const fn wrapped(mut self) -> Self {
        self.wrapped = true;
        self
    }

    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(super) const fn ptr(mut self) -> Self {
        self.pointer = true;
        self
    }

    pub(super) const fn keep(mut self) -> Self {
        self.omit = Omit::Never;
        self
    }

    pub(super) const fn omit_zero(mut self) -> Self {
        self.omit = Omit::Zero;
        self
    }

    pub(super) const fn default(mut self, json: &'static str) -> Self {
        self.default = Some(json);
        self
    }

    pub(super) const fn one_of(mut self, values: &'static [&'static str]) -> Self {
        self.enum_values = values;
        self
    }

    pub(super) const fn list_atomic(mut self) -> Self {
        self.list_type = ListType::Atomic;
        self
    }

    pub(super) const fn list_set(mut self) -> Self {
        self.list_type = ListType::Set;
        self
    }

    pub(super) const fn list_map(mut self, keys: &'static [&'static str]) -> Self {
        self.list_type = ListType::Map;
        self.list_map_keys = keys;
        self
    }

    pub(super) const fn atomic(mut self) -> Self {
        self.atomic = true;
        self
    }

    pub(super) const fn granular(mut self) -> Self {
        self.granular = true;
        self
    }

    pub(super) const fn merge(mut self, key: &'static str) -> Self {
        self.patch_strategy.merge = true;
        self.patch_merge_key = key;
        self
    }

    pub(super) const fn replace(mut self) -> Self {
        self.patch_strategy.replace = true;
        self
    }

    pub(super) const fn retain_keys(mut self) -> Self {
        self.patch_strategy.retain_keys = true;
        self
    }

    pub(super) const fn go(mut self, name: &'static str) -> Self {
        self.go = name;
        self
    }

    pub(super) const fn at(mut self, path: &'static str) -> Self {
        self.go_at = path;
        self
    }
}
