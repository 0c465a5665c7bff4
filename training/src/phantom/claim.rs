//! Claims: what a sentence can state about a field.

use serde::{Deserialize, Serialize};

use super::{
    Amount, Cellularity, Mitoses, NuclearSize, Pattern, Pleomorphism, Presence, Quality, Stroma, Truth,
};

/// Something about a field that a sentence can state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    Quality,
    Pattern,
    /// How epithelium is arranged; follows from the pattern.
    Architecture,
    /// Benign or malignant; follows from the pattern, and is open for mucin and necrosis.
    Malignancy,
    /// The kind of tumour, or none; follows from the pattern.
    TumourType,
    Cellularity,
    NuclearSize,
    Pleomorphism,
    Mitoses,
    Lymphocytes,
    Necrosis,
    Stroma,
}

impl Attribute {
    /// Every attribute.
    pub const ALL: &[Self] = &[
        Self::Quality,
        Self::Pattern,
        Self::Architecture,
        Self::Malignancy,
        Self::TumourType,
        Self::Cellularity,
        Self::NuclearSize,
        Self::Pleomorphism,
        Self::Mitoses,
        Self::Lymphocytes,
        Self::Necrosis,
        Self::Stroma,
    ];

    /// Its name in the lexicon and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quality => "quality",
            Self::Pattern => "pattern",
            Self::Architecture => "architecture",
            Self::Malignancy => "malignancy",
            Self::TumourType => "tumour_type",
            Self::Cellularity => "cellularity",
            Self::NuclearSize => "nuclear_size",
            Self::Pleomorphism => "pleomorphism",
            Self::Mitoses => "mitoses",
            Self::Lymphocytes => "lymphocytes",
            Self::Necrosis => "necrosis",
            Self::Stroma => "stroma",
        }
    }

    /// The names of its values, in the order of the truth's levels.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Self::Quality => &["sharp", "blurred", "blank"],
            Self::Pattern => &[
                "benign_glands",
                "tumour_glands",
                "tumour_nests",
                "tumour_sheets",
                "fibrous_stroma",
                "lymphoid_aggregate",
                "necrosis",
                "mucin",
                "fat",
            ],
            Self::Architecture => &["glands", "nests", "sheets", "none"],
            Self::Malignancy => &["benign", "malignant"],
            Self::TumourType => &["gland_forming", "nested", "sheet_like", "none"],
            Self::Cellularity => &["low", "moderate", "high"],
            Self::NuclearSize => &["small", "large"],
            Self::Pleomorphism => &["uniform", "marked"],
            Self::Mitoses | Self::Necrosis => &["absent", "present"],
            Self::Lymphocytes => &["absent", "sparse", "dense"],
            Self::Stroma => &["scant", "abundant"],
        }
    }

    /// The claim that is true of a field; `None` where the attribute does not apply or nothing can be read.
    pub fn of(self, truth: &Truth) -> Option<Claim> {
        let level = match self {
            Self::Quality => position(Quality::ALL, truth.quality),
            _ if !truth.is_assessable() => return None,
            Self::Pattern => position(Pattern::ALL, truth.pattern),
            Self::Architecture | Self::Malignancy | Self::TumourType => derived(self, truth.pattern)?,
            Self::Cellularity => position(Cellularity::ALL, truth.cellularity),
            Self::NuclearSize => position(NuclearSize::ALL, truth.nuclear_size?),
            Self::Pleomorphism => position(Pleomorphism::ALL, truth.pleomorphism?),
            Self::Mitoses => position(Mitoses::ALL, truth.mitoses),
            Self::Lymphocytes => position(Amount::ALL, truth.lymphocytes),
            Self::Necrosis => position(Presence::ALL, truth.necrosis),
            Self::Stroma => position(Stroma::ALL, truth.stroma?),
        };
        Some(Claim { attribute: self, level })
    }
}

/// What follows from the pattern alone.
fn derived(attribute: Attribute, pattern: Pattern) -> Option<u8> {
    Some(match (attribute, pattern) {
        (Attribute::Architecture, Pattern::BenignGlands | Pattern::TumourGlands)
        | (Attribute::TumourType, Pattern::TumourGlands) => 0,
        (Attribute::Architecture | Attribute::TumourType, Pattern::TumourNests) => 1,
        (Attribute::Architecture | Attribute::TumourType, Pattern::TumourSheets) => 2,
        (Attribute::Architecture | Attribute::TumourType, _) => 3,
        (Attribute::Malignancy, Pattern::Mucin | Pattern::Necrosis) => return None,
        (Attribute::Malignancy, pattern) => u8::from(pattern.is_tumour()),
        _ => return None,
    })
}

fn position<T: PartialEq + Copy>(levels: &[T], level: T) -> u8 {
    levels.iter().position(|l| *l == level).map_or(0, |index| index as u8)
}

/// One statement: this attribute has this value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim {
    pub attribute: Attribute,
    /// Index into the attribute's values.
    pub level: u8,
}

impl Claim {
    /// Whether it is true of a field; `false` where the attribute does not apply.
    pub fn holds(self, truth: &Truth) -> bool {
        self.attribute.of(truth) == Some(self)
    }

    /// Its name, such as `pattern.tumour_nests`.
    pub fn name(self) -> String {
        let value = self.attribute.values().get(usize::from(self.level)).copied().unwrap_or("?");
        format!("{}.{value}", self.attribute.name())
    }

    /// The claim of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        let (attribute, value) = name.split_once('.')?;
        let attribute = *Attribute::ALL.iter().find(|a| a.name() == attribute)?;
        let level = attribute.values().iter().position(|v| *v == value)? as u8;
        Some(Self { attribute, level })
    }

    /// Every claim that an attribute allows.
    pub fn all(attribute: Attribute) -> impl Iterator<Item = Self> {
        (0..attribute.values().len() as u8).map(move |level| Self { attribute, level })
    }

    /// The claim itself and those that follow from it (a pattern fixes architecture, malignancy and tumour type).
    pub fn with_implied(self) -> Vec<Self> {
        let mut implied = vec![self];
        if self.attribute == Attribute::Pattern
            && let Some(pattern) = Pattern::ALL.get(usize::from(self.level))
        {
            for attribute in [Attribute::Architecture, Attribute::Malignancy, Attribute::TumourType] {
                implied.extend(derived(attribute, *pattern).map(|level| Self { attribute, level }));
            }
        }
        implied
    }
}

/// A claim in a configuration: by its name.
pub mod named_claim {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::Claim;
    use crate::phantom::Limits;

    /// Writes the name.
    pub fn serialize<S: Serializer>(claim: &Option<Claim>, serializer: S) -> Result<S::Ok, S::Error> {
        claim.map(Claim::name).serialize(serializer)
    }

    /// Reads a name; one that no claim has, or that cannot be withheld, is an error.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Claim>, D::Error> {
        let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let unknown = || D::Error::custom(format!("no claim about a field is called '{name}'"));
        let claim = Claim::from_name(&name).ok_or_else(unknown)?;
        match Limits::without(Some(claim)).fault() {
            Some(fault) => Err(D::Error::custom(fault)),
            None => Ok(Some(claim)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_the_names_of_the_truth() {
        let names = |json: serde_json::Value| json.as_str().unwrap().to_owned();
        for (index, pattern) in Pattern::ALL.iter().enumerate() {
            let name = names(serde_json::to_value(pattern).unwrap());
            assert_eq!(Attribute::Pattern.values()[index], name);
        }
        for (index, amount) in Amount::ALL.iter().enumerate() {
            assert_eq!(Attribute::Lymphocytes.values()[index], names(serde_json::to_value(amount).unwrap()));
        }
        for (index, level) in Cellularity::ALL.iter().enumerate() {
            assert_eq!(Attribute::Cellularity.values()[index], names(serde_json::to_value(level).unwrap()));
        }
        for (index, quality) in Quality::ALL.iter().enumerate() {
            assert_eq!(Attribute::Quality.values()[index], names(serde_json::to_value(quality).unwrap()));
        }
    }
}
