//! The names that GPUs are rented by, so that one that is misspelt is refused where it is set: no offer would ever have it, and nothing would be rented.

use crate::FieldError;

/// NVIDIA's cards by Vast.ai's names, letter by letter, and by those of EC2's price list here where they differ (`A10G`). What is not in here and was
/// rented once is known all the same ([`refused`]).
const NAMES: &[&str] = &[
    "A2",
    "A10",
    "A10G",
    "A10g",
    "A16",
    "A30",
    "A40",
    "A100 PCIE",
    "A100 SXM",
    "A100 SXM4",
    "A100X",
    "A800 PCIE",
    "B200",
    "B300",
    "GB10",
    "GH200 SXM",
    "GP100",
    "H100 NVL",
    "H100 PCIE",
    "H100 SXM",
    "H200",
    "H200 NVL",
    "L4",
    "L40",
    "L40S",
    "GTX 1050",
    "GTX 1050 Ti",
    "GTX 1060",
    "GTX 1060 6GB",
    "GTX 1070",
    "GTX 1070 Ti",
    "GTX 1080",
    "GTX 1080 Ti",
    "GTX 1650",
    "GTX 1650 S",
    "GTX 1660",
    "GTX 1660 S",
    "GTX 1660 Ti",
    "Q RTX 4000",
    "Q RTX 5000",
    "Q RTX 6000",
    "Q RTX 8000",
    "Quadro P2000",
    "Quadro P4000",
    "Quadro P5000",
    "Quadro P6000",
    "RTX 2000Ada",
    "RTX 4000Ada",
    "RTX 4500Ada",
    "RTX 5000Ada",
    "RTX 5880Ada",
    "RTX 6000Ada",
    "RTX 2060",
    "RTX 2060S",
    "RTX 2070",
    "RTX 2070S",
    "RTX 2080",
    "RTX 2080S",
    "RTX 2080 Ti",
    "RTX 3050",
    "RTX 3060",
    "RTX 3060 laptop",
    "RTX 3060 Ti",
    "RTX 3070",
    "RTX 3070 laptop",
    "RTX 3070 Ti",
    "RTX 3080",
    "RTX 3080 Ti",
    "RTX 3090",
    "RTX 3090 Ti",
    "RTX 4060",
    "RTX 4060 Ti",
    "RTX 4070",
    "RTX 4070S",
    "RTX 4070 Ti",
    "RTX 4070S Ti",
    "RTX 4080",
    "RTX 4080S",
    "RTX 4090",
    "RTX 4090D",
    "RTX 5060",
    "RTX 5060 Ti",
    "RTX 5070",
    "RTX 5070 Ti",
    "RTX 5080",
    "RTX 5090",
    "RTX 5090D",
    "RTX A2000",
    "RTX A4000",
    "RTX A4500",
    "RTX A5000",
    "RTX A6000",
    "RTX PRO 4000",
    "RTX PRO 4500",
    "RTX PRO 5000",
    "RTX PRO 6000 Max-Q",
    "RTX PRO 6000 S",
    "RTX PRO 6000 WS",
    "Tesla K80",
    "Tesla P4",
    "Tesla P40",
    "Tesla P100",
    "Tesla T4",
    "Tesla V100",
    "Titan RTX",
    "Titan V",
    "Titan X",
    "Titan Xp",
];

/// Names that a refusal tells at most.
const MOST_NEAR: usize = 4;
/// So many letters off a name may be and still be taken for it.
const MOST_OFF: usize = 2;

/// The first of these names that no GPU has, as a refusal of the field `gpus`. `seen`: names that the fleet has met, which count as well.
pub fn refused(gpus: &[String], seen: &[&str]) -> Option<FieldError> {
    let known = |name: &str| NAMES.contains(&name) || seen.contains(&name);
    let (i, name) = gpus.iter().enumerate().find(|(_, name)| !known(name))?;
    let near = near(name, seen);
    let message = match near.is_empty() {
        true => "no GPU of this name is known; names are Vast.ai's, such as RTX 4090".to_owned(),
        false => format!("no GPU of this name is known; there is {}", near.join(", ")),
    };
    Some(FieldError::new(format!("gpus[{i}]"), message))
}

/// Known names that may have been meant, the nearest first: spelt otherwise, longer, or off by a letter or two.
fn near<'a>(name: &str, seen: &[&'a str]) -> Vec<&'a str> {
    let given = letters(name);
    let far = |known: &str| {
        let known = letters(known);
        let off = distance(&given, &known);
        let longer = !given.is_empty() && known.windows(given.len()).any(|part| part == given);
        (longer || off <= MOST_OFF && off < given.len()).then_some((!longer, off))
    };
    let mut found: Vec<_> = NAMES.iter().copied().chain(seen.iter().copied()).filter_map(|known| Some((far(known)?, known))).collect();
    found.sort_unstable();
    found.dedup();
    // Of one that is only spelt otherwise nothing else was meant.
    let same = found.iter().take_while(|((_, off), _)| *off == 0).count();
    found.into_iter().map(|(_, known)| known).take(if same > 0 { same } else { MOST_NEAR }).collect()
}

/// A name without case, spaces, underscores and hyphens.
fn letters(name: &str) -> Vec<char> {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// How many letters must be put in, taken out or changed to make one of the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = corner + usize::from(left != right);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str], seen: &[&str]) -> Option<FieldError> {
        refused(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), seen)
    }

    #[test]
    fn a_name_that_no_gpu_has_is_refused_with_those_that_may_have_been_meant() {
        assert_eq!(of(&[], &[]), None);
        assert_eq!(of(&["RTX 4090", "L40S", "Tesla T4"], &[]), None);
        for (name, meant) in [
            ("RTX4090", "RTX 4090"),
            ("rtx_4090", "RTX 4090"),
            ("RTX 5O90", "RTX 5090"),
            ("4090", "RTX 4090, RTX 4090D"),
            ("RTX 6000 Ada", "RTX 6000Ada"),
            ("H100", "H100 NVL, H100 SXM, H100 PCIE, H200"),
        ] {
            let refusal = of(&["L4", name], &[]).unwrap();
            assert_eq!(refusal.field, "gpus[1]");
            assert!(refusal.message.contains(meant), "{name}: {}", refusal.message);
        }
        let strange = of(&["Voodoo", "L4"], &[]).unwrap();
        assert!(strange.field == "gpus[0]" && !strange.message.contains("there is"), "{strange:?}");
        assert!(of(&[" "], &[]).is_some() && of(&["ÄÖÜ"], &[]).is_some());
    }

    #[test]
    fn a_card_that_was_met_counts_though_the_list_lacks_it() {
        assert_eq!(of(&["R200 SXM"], &["R200 SXM"]), None);
        let refusal = of(&["R200SXM"], &["R200 SXM"]).unwrap();
        assert!(refusal.message.ends_with("there is R200 SXM"), "{}", refusal.message);
    }

    #[test]
    fn each_name_stands_once_and_is_none_that_a_policy_refuses() {
        let once: std::collections::BTreeSet<_> = NAMES.iter().collect();
        assert_eq!(once.len(), NAMES.len());
        assert!(NAMES.iter().all(|name| !name.is_empty() && name.len() <= 64 && name.trim() == *name));
    }
}
