// The page's messages in English and Korean.

const MESSAGES = {
  en: {
    placeholder: "Type or paste text", text: "Text", translation: "Translation",
    from: "Source language", to: "Target language", auto: "Detect language", detected: (name) => `${name} (detected)`,
    swap: "Swap languages", clear: "Clear text", copy: "Copy", copied: "Copied", shade: "Shade uncertain words",
    look: "Look inside", theme: "Switch between light and dark theme", alternatives: "Alternative translations",
    drop: "Drop files here or click to choose", history: "History", clearHistory: "Clear history",
    deleteEntry: "Delete this entry", privacy: "Stored in this browser only.", docs: "API documentation",
    key: "API key", keyRequired: "This server requires an API key.", unreachable: "The server does not respond.",
    translating: "Translating…", download: "Download", probability: (percent) => `Probability ${percent}%`,
    count: (characters, limit) => `${characters.toLocaleString("en")} / ${limit.toLocaleString("en")}`,
    openapi: "Machine-readable description:", required: "required", defaultValue: (value) => `default: ${value}`,
  },
  ko: {
    placeholder: "번역할 텍스트를 입력하거나 붙여 넣으세요", text: "원문", translation: "번역문",
    from: "출발 언어", to: "도착 언어", auto: "언어 감지", detected: (name) => `${name} (감지됨)`,
    swap: "출발 언어와 도착 언어 바꾸기", clear: "텍스트 지우기", copy: "복사", copied: "복사했습니다", shade: "불확실한 단어 강조",
    look: "모델 들여다보기", theme: "밝은 테마와 어두운 테마 전환", alternatives: "다른 번역",
    drop: "파일을 끌어다 놓거나 클릭해서 선택하세요", history: "번역 기록", clearHistory: "기록 모두 삭제",
    deleteEntry: "이 기록 삭제", privacy: "이 브라우저에만 저장됩니다.", docs: "API 문서",
    key: "API 키", keyRequired: "이 서버를 사용하려면 API 키가 필요합니다.", unreachable: "서버가 응답하지 않습니다.",
    translating: "번역 중…", download: "다운로드", probability: (percent) => `확률 ${percent}%`,
    count: (characters, limit) => `${characters.toLocaleString("ko")} / ${limit.toLocaleString("ko")}`,
    openapi: "기계가 읽을 수 있는 명세:", required: "필수", defaultValue: (value) => `기본값: ${value}`,
  },
};

let locale = localStorage.getItem("locale") ?? (navigator.language.startsWith("ko") ? "ko" : "en");

/** Returns a message by name; some take values. */
export function message(name, ...values) {
  const text = MESSAGES[locale][name];
  return typeof text === "function" ? text(...values) : text;
}

/** Returns a language's name in the page's locale. */
export function languageName(code, fallback) {
  try {
    const name = new Intl.DisplayNames([locale], { type: "language", fallback: "none" }).of(code);
    return name ? name[0].toUpperCase() + name.slice(1) : fallback;
  } catch {
    return fallback;
  }
}

/** Writes all static texts of the page in the current locale. */
export function localizePage() {
  document.documentElement.lang = locale;
  for (const element of document.querySelectorAll("[data-i18n]")) element.textContent = message(element.dataset.i18n);
  for (const element of document.querySelectorAll("[data-i18n-placeholder]")) element.placeholder = message(element.dataset.i18nPlaceholder);
  for (const element of document.querySelectorAll("[data-i18n-label]")) {
    element.setAttribute("aria-label", message(element.dataset.i18nLabel));
    if (element.matches("button")) element.title = message(element.dataset.i18nLabel);
  }
  const button = document.querySelector("#locale");
  if (button) [button.textContent, button.lang] = locale === "en" ? ["한국어", "ko"] : ["English", "en"];
}

export function switchLocale() {
  locale = locale === "en" ? "ko" : "en";
  localStorage.setItem("locale", locale);
}
