//! What a phantom field contains: the values that are drawn, asked about and scored.
//!
//! The levels are few and far apart on purpose: the drawing keeps a gap between neighbouring levels (see
//! `render.rs`), so that each of them can be told at the resolution the demo model sees.

use rand::Rng;
use rand::seq::IndexedRandom as _;
use serde::{Deserialize, Serialize};

/// Declares an enum of named levels with `ALL`.
macro_rules! levels {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $value:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $value),+ }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &[Self] = &[$(Self::$value),+];
        }
    };
}

levels! {
    /// Whether a field can be read at all.
    Quality {
        /// In focus, with tissue.
        Sharp,
        /// Far out of focus: cells cannot be told.
        Blurred,
        /// Glass without tissue.
        Blank,
    }
}

levels! {
    /// The structure that dominates a field.
    Pattern {
        /// Round, well-spaced glands with a lumen and one even row of small nuclei.
        BenignGlands,
        /// Irregular, crowded glands with enlarged nuclei.
        TumourGlands,
        /// Rounded solid groups of tumour cells within stroma.
        TumourNests,
        /// Tumour cells in a continuous sheet without groups or lumens.
        TumourSheets,
        /// Wavy pink fibres with few spindle nuclei.
        FibrousStroma,
        /// Packed small round dark nuclei.
        LymphoidAggregate,
        /// Granular ghost tissue with nuclear dust, without intact cells.
        Necrosis,
        /// Pale blue-grey streaming pools with few floating cells.
        Mucin,
        /// Large empty round cells with thin walls.
        Fat,
    }
}

levels! {
    /// Nuclei per area.
    Cellularity { Low, Moderate, High }
}

levels! {
    /// Size of the epithelial nuclei.
    NuclearSize { Small, Large }
}

levels! {
    /// How much the epithelial nuclei differ in size and shape.
    Pleomorphism { Uniform, Marked }
}

levels! {
    /// Mitotic figures: none, or at least four in a field.
    Mitoses { Absent, Present }
}

levels! {
    /// Amount of lymphocytes among the other cells.
    Amount { Absent, Sparse, Dense }
}

levels! {
    /// Whether a secondary component fills a clear part of the field.
    Presence { Absent, Present }
}

levels! {
    /// Fibrous tissue between the epithelial structures.
    Stroma { Scant, Abundant }
}

impl Pattern {
    /// Whether the pattern is a tumour.
    pub fn is_tumour(self) -> bool {
        matches!(self, Self::TumourGlands | Self::TumourNests | Self::TumourSheets)
    }

    /// Whether the pattern has epithelial cells, whose nuclei can be described.
    pub fn is_epithelial(self) -> bool {
        self.is_tumour() || self == Self::BenignGlands
    }
}

/// Everything that is true of one field. `None` where an attribute does not apply (no epithelium, nothing readable).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Truth {
    pub quality: Quality,
    /// The dominant structure; what lies under the blur when the field is blurred; `FibrousStroma` when blank.
    pub pattern: Pattern,
    pub cellularity: Cellularity,
    /// `None` without epithelium.
    pub nuclear_size: Option<NuclearSize>,
    /// `None` without epithelium.
    pub pleomorphism: Option<Pleomorphism>,
    pub mitoses: Mitoses,
    /// Lymphocytes scattered between the other cells; `Dense` in a lymphoid aggregate.
    pub lymphocytes: Amount,
    /// A necrotic focus; always present where necrosis is the pattern.
    pub necrosis: Presence,
    /// `None` without epithelium.
    pub stroma: Option<Stroma>,
}

impl Truth {
    /// Whether anything can be said of the field.
    pub fn is_assessable(&self) -> bool {
        self.quality == Quality::Sharp
    }

    /// A field drawn from the phantom distribution: 92 % sharp, patterns evenly, attributes as the pattern allows.
    pub fn sample(rng: &mut impl Rng) -> Self {
        let quality = match rng.random_range(0..100) {
            0..4 => Quality::Blank,
            4..8 => Quality::Blurred,
            _ => Quality::Sharp,
        };
        let pattern =
            if quality == Quality::Blank { Pattern::FibrousStroma } else { pick(Pattern::ALL, rng) };
        Self::sample_with(pattern, quality, rng)
    }

    /// A field of a given pattern and quality, its other attributes as the pattern allows.
    pub fn sample_with(pattern: Pattern, quality: Quality, rng: &mut impl Rng) -> Self {
        let epithelial = pattern.is_epithelial();
        let benign = pattern == Pattern::BenignGlands;
        let nuclear_size =
            epithelial.then(|| if benign { NuclearSize::Small } else { pick(NuclearSize::ALL, rng) });
        let pleomorphism =
            epithelial.then(|| if benign { Pleomorphism::Uniform } else { pick(Pleomorphism::ALL, rng) });
        let stroma = epithelial
            .then(|| if pattern == Pattern::TumourSheets { Stroma::Scant } else { pick(Stroma::ALL, rng) });
        let lymphocytes = match pattern {
            Pattern::LymphoidAggregate => Amount::Dense,
            Pattern::Necrosis => Amount::Absent,
            Pattern::Fat | Pattern::Mucin => pick(&[Amount::Absent, Amount::Sparse], rng),
            _ => pick(Amount::ALL, rng),
        };
        let cellularity = match pattern {
            // Cellularity counts all nuclei: a dense infiltrate makes a field cellular.
            _ if lymphocytes == Amount::Dense => Cellularity::High,
            Pattern::Fat | Pattern::Mucin | Pattern::Necrosis => Cellularity::Low,
            Pattern::FibrousStroma => pick(&[Cellularity::Low, Cellularity::Moderate], rng),
            _ => pick(Cellularity::ALL, rng),
        };
        Self {
            quality,
            pattern,
            cellularity,
            nuclear_size,
            pleomorphism,
            mitoses: if pattern.is_tumour() { pick(Mitoses::ALL, rng) } else { Mitoses::Absent },
            lymphocytes,
            necrosis: match pattern {
                Pattern::Necrosis => Presence::Present,
                p if p.is_tumour() => pick(Presence::ALL, rng),
                _ => Presence::Absent,
            },
            stroma,
        }
    }
}

fn pick<T: Copy>(values: &[T], rng: &mut impl Rng) -> T {
    *values.choose(rng).expect("a list of levels is never empty")
}
