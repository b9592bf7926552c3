//! What differs between two texts, line by line, as Go programs show it (`pmezard/go-difflib`, which follows Python's
//! `difflib`): another choice of what belongs together would print other lines.

use std::collections::HashMap;

/// Equal lines shown around what differs.
const CONTEXT: usize = 3;
/// From so many lines on, those that are there too often tell nothing about what belongs together.
const POPULAR_FROM: usize = 200;
/// Texts with more lines are not compared.
const LINES_MAX: usize = 20_000;

/// The unified form, without names of files; empty when nothing differs.
pub fn difference(old: &str, new: &str) -> String {
    let [old, new] = [old, new].map(|text| text.split('\n').collect::<Vec<&str>>());
    if old.len().max(new.len()) > LINES_MAX {
        return String::new();
    }
    let mut out = String::new();
    for group in groups(steps(&old, &new)) {
        write_group(&group, &old, &new, &mut out);
    }
    out
}

/// Lines of both texts that are as many and the same.
#[derive(Clone, Copy)]
struct Match {
    old: usize,
    new: usize,
    size: usize,
}

/// Lines of the old text and those of the new one in their place.
#[derive(Clone, Copy)]
struct Step {
    equal: bool,
    old: (usize, usize),
    new: (usize, usize),
}

struct Matcher<'a> {
    old: &'a [&'a str],
    new: &'a [&'a str],
    /// Where a line stands in the new text.
    places: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Matcher<'a> {
    fn new(old: &'a [&'a str], new: &'a [&'a str]) -> Self {
        let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, line) in new.iter().enumerate() {
            places.entry(line).or_default().push(i);
        }
        if new.len() >= POPULAR_FROM {
            let most = new.len() / 100 + 1;
            places.retain(|_, places| places.len() <= most);
        }
        Self { old, new, places }
    }

    /// All that matches, in order. A stack instead of recursion: texts come from clients.
    fn matches(&self) -> Vec<Match> {
        let mut found = Vec::new();
        let mut ranges = vec![((0, self.old.len()), (0, self.new.len()))];
        while let Some((old, new)) = ranges.pop() {
            let longest = self.longest(old, new);
            if longest.size == 0 {
                continue;
            }
            found.push(longest);
            ranges.push(((old.0, longest.old), (new.0, longest.new)));
            ranges.push(((longest.old + longest.size, old.1), (longest.new + longest.size, new.1)));
        }
        found.sort_unstable_by_key(|found| found.old);
        found
    }

    /// The first of the longest matches within two ranges.
    fn longest(&self, old: (usize, usize), new: (usize, usize)) -> Match {
        let mut best = Match { old: old.0, new: new.0, size: 0 };
        let mut lengths: HashMap<usize, usize> = HashMap::new();
        for i in old.0..old.1 {
            let mut next = HashMap::new();
            let places = self.places.get(self.old[i]).into_iter().flatten().copied();
            for j in places.skip_while(|j| *j < new.0).take_while(|j| *j < new.1) {
                let before = j.checked_sub(1).and_then(|j| lengths.get(&j)).copied().unwrap_or_default();
                let size = before + 1;
                next.insert(j, size);
                if size > best.size {
                    best = Match { old: i + 1 - size, new: j + 1 - size, size };
                }
            }
            lengths = next;
        }
        self.extended(best, old, new)
    }

    /// With the popular lines around it that match too.
    fn extended(&self, mut best: Match, old: (usize, usize), new: (usize, usize)) -> Match {
        while best.old > old.0 && best.new > new.0 && self.old[best.old - 1] == self.new[best.new - 1] {
            best = Match { old: best.old - 1, new: best.new - 1, size: best.size + 1 };
        }
        let (mut i, mut j) = (best.old + best.size, best.new + best.size);
        while i < old.1 && j < new.1 && self.old[i] == self.new[j] {
            (i, j) = (i + 1, j + 1);
        }
        best.size = i - best.old;
        best
    }
}

/// How the new text comes from the old one.
fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let end = Match { old: old.len(), new: new.len(), size: 0 };
    let (mut i, mut j) = (0, 0);
    let mut steps: Vec<Step> = Vec::new();
    for found in Matcher::new(old, new).matches().into_iter().chain([end]) {
        if i < found.old || j < found.new {
            steps.push(Step { equal: false, old: (i, found.old), new: (j, found.new) });
        }
        let (was_i, was_j) = (found.old, found.new);
        (i, j) = (found.old + found.size, found.new + found.size);
        match steps.last_mut() {
            Some(last) if last.equal => (last.old.1, last.new.1) = (i, j),
            _ if found.size > 0 => steps.push(Step { equal: true, old: (was_i, i), new: (was_j, j) }),
            _ => {}
        }
    }
    steps
}

/// Steps with what stands around them; those that are far from each other stand apart.
fn groups(mut steps: Vec<Step>) -> Vec<Vec<Step>> {
    if let Some(first) = steps.first_mut().filter(|first| first.equal) {
        *first = last_lines(*first);
    }
    if let Some(last) = steps.last_mut().filter(|last| last.equal) {
        *last = first_lines(*last);
    }
    let (mut groups, mut group) = (Vec::new(), Vec::new());
    for step in steps {
        if step.equal && step.old.1 - step.old.0 > 2 * CONTEXT {
            group.push(first_lines(step));
            groups.push(std::mem::take(&mut group));
            group.push(last_lines(step));
        } else {
            group.push(step);
        }
    }
    groups.push(group);
    groups.retain(|group| group.iter().any(|step| !step.equal));
    groups
}

fn first_lines(step: Step) -> Step {
    let upto = |range: (usize, usize)| (range.0, range.1.min(range.0 + CONTEXT));
    Step { old: upto(step.old), new: upto(step.new), ..step }
}

fn last_lines(step: Step) -> Step {
    let from = |range: (usize, usize)| (range.0.max(range.1.saturating_sub(CONTEXT)), range.1);
    Step { old: from(step.old), new: from(step.new), ..step }
}

fn write_group(group: &[Step], old: &[&str], new: &[&str], out: &mut String) {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return };
    let (before, after) = (shown((first.old.0, last.old.1)), shown((first.new.0, last.new.1)));
    let mut write = |sign: &str, lines: &[&str]| {
        for line in lines {
            out.push_str(sign);
            out.push_str(line);
            out.push('\n');
        }
    };
    write("", &[&format!("@@ -{before} +{after} @@")]);
    for step in group {
        let (gone, come) = (&old[step.old.0..step.old.1], &new[step.new.0..step.new.1]);
        if step.equal {
            write(" ", gone);
        } else {
            write("-", gone);
            write("+", come);
        }
    }
}

/// A range as the head of a group has it: the first line, and how many when there is not one.
fn shown((start, end): (usize, usize)) -> String {
    match end - start {
        0 => format!("{start},0"),
        1 => (start + 1).to_string(),
        length => format!("{},{length}", start + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_three_lines_around_them() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm";
        let new = "a\nb\nX\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn";
        let wanted = "@@ -1,6 +1,6 @@\n a\n b\n-c\n+X\n d\n e\n f\n@@ -11,3 +11,4 @@\n k\n l\n m\n+n\n";
        assert_eq!(difference(old, new), wanted);
        assert_eq!(difference(old, old), "");
        assert_eq!(difference("a", "b"), "@@ -1 +1 @@\n-a\n+b\n");
    }

    #[test]
    fn close_changes_are_one_group() {
        let wanted = "@@ -1,4 +1,3 @@\n-a\n+z\n b\n-c\n d\n";
        assert_eq!(difference("a\nb\nc\nd", "z\nb\nd"), wanted);
    }
}
