//! A page in Markdown, cut into prose, files and transcripts.

/// A page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) blocks: Vec<Block>,
}

/// A piece of a page.
#[derive(Clone, Debug)]
pub(crate) enum Block {
    /// Lines that are not tried out.
    Prose(String),
    /// A file: the words after the fence, its name, what is in it.
    File { info: String, name: String, text: String },
    /// Commands, each with what it prints.
    Console(Vec<(String, String)>),
}

impl Page {
    /// Cuts a page.
    pub(crate) fn parse(text: &str) -> Self {
        let (mut blocks, mut prose) = (Vec::new(), String::new());
        let mut lines = text.split_inclusive('\n');
        while let Some(line) = lines.next() {
            let info = line.strip_prefix("```").map(str::trim).filter(|info| is_tried(info));
            let Some(info) = info else {
                prose.push_str(line);
                continue;
            };
            blocks.push(Block::Prose(std::mem::take(&mut prose)));
            let body: String = lines.by_ref().take_while(|line| line.trim_end() != "```").collect();
            blocks.push(Block::fenced(info, body));
        }
        blocks.push(Block::Prose(prose));
        Self { blocks }
    }

    /// The page again.
    pub(crate) fn text(&self) -> String {
        self.blocks.iter().map(Block::text).collect()
    }
}

fn is_tried(info: &str) -> bool {
    info == "console" || info.contains("file=")
}

impl Block {
    fn fenced(info: &str, body: String) -> Self {
        match info.split_once("file=") {
            Some((_, name)) => {
                Self::File { info: info.to_owned(), name: name.to_owned(), text: body }
            }
            None => Self::Console(steps(&body)),
        }
    }

    /// The block as it stands on the page.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Prose(text) => text.clone(),
            Self::File { info, text, .. } => format!("```{info}\n{text}```\n"),
            Self::Console(steps) => {
                let steps = steps.iter().map(|(command, said)| format!("$ {command}\n{said}"));
                format!("```console\n{}```\n", steps.collect::<String>())
            }
        }
    }
}

fn steps(body: &str) -> Vec<(String, String)> {
    let mut steps: Vec<(String, String)> = Vec::new();
    for line in body.split_inclusive('\n') {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.trim_end().to_owned(), String::new())),
            (None, Some((_, said))) => said.push_str(line),
            (None, None) => panic!("a transcript begins with a command, not with {line:?}"),
        }
    }
    steps
}
