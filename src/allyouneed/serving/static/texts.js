// What the page says, in two languages.

const TEXTS = {
  en: {
    type: "Type or paste text", text: "Text", translation: "Translation", from: "From", to: "To",
    auto: "Detect language", detected: (name) => `${name} (detected)`, swap: "Swap languages", clear: "Clear the text",
    copy: "Copy", copied: "Copied", shade: "Shade uncertain words", look: "Look inside", theme: "Light or dark",
    alternatives: "Other translations", drop: "Drop files here, or choose them", history: "History",
    forget: "Forget all", forgetOne: "Forget this", private: "Kept in this browser only.", docs: "API documentation",
    key: "API key", keyWanted: "This server asks for an API key.", down: "The server does not answer.",
    waiting: "waiting", download: "Download", sure: (percent) => `${percent} % sure`,
    count: (now, most) => `${now.toLocaleString("en")} / ${most.toLocaleString("en")}`,
  },
  ko: {
    type: "번역할 글을 입력하거나 붙여 넣으세요", text: "원문", translation: "번역", from: "원문 언어", to: "번역할 언어",
    auto: "언어 감지", detected: (name) => `${name} (감지됨)`, swap: "언어 바꾸기", clear: "지우기",
    copy: "복사", copied: "복사했습니다", shade: "불확실한 단어 표시", look: "들여다보기", theme: "밝게 또는 어둡게",
    alternatives: "다른 번역", drop: "파일을 끌어다 놓거나 눌러서 고르세요", history: "기록",
    forget: "모두 지우기", forgetOne: "이 기록 지우기", private: "이 브라우저에만 저장됩니다.", docs: "API 문서",
    key: "API 키", keyWanted: "이 서버를 쓰려면 API 키가 필요합니다.", down: "서버가 응답하지 않습니다.",
    waiting: "기다리는 중", download: "내려받기", sure: (percent) => `확신도 ${percent} %`,
    count: (now, most) => `${now.toLocaleString("ko")} / ${most.toLocaleString("ko")}`,
  },
};

let tongue = localStorage.getItem("tongue") ?? (navigator.language.startsWith("ko") ? "ko" : "en");

/** A text by its name; some take values. */
export function say(name, ...values) {
  const text = TEXTS[tongue][name];
  return typeof text === "function" ? text(...values) : text;
}

/** A language's name in the page's language. */
export function nameOf(code, fallback) {
  try {
    const name = new Intl.DisplayNames([tongue], { type: "language", fallback: "none" }).of(code);
    return name ? name[0].toUpperCase() + name.slice(1) : fallback;
  } catch {
    return fallback;
  }
}

/** Writes all fixed texts of the page. */
export function writeTexts() {
  document.documentElement.lang = tongue;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = say(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-placeholder]")) element.placeholder = say(element.dataset.tPlaceholder);
  for (const element of document.querySelectorAll("[data-t-label]")) {
    element.setAttribute("aria-label", say(element.dataset.tLabel));
    if (element.matches("button")) element.title = say(element.dataset.tLabel);
  }
  const other = document.querySelector("#tongue");
  if (other) [other.textContent, other.lang] = tongue === "en" ? ["한국어", "ko"] : ["English", "en"];
}

export function switchTongue() {
  tongue = tongue === "en" ? "ko" : "en";
  localStorage.setItem("tongue", tongue);
}
