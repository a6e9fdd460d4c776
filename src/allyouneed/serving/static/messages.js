// The page's messages in English and Korean.

import { isUnreachable } from "./api.js";
import { browserStore } from "./storage.js";

const counted = (count, singular) => `${count.toLocaleString("en")} ${singular}${count === 1 ? "" : "s"}`;

export const MESSAGES = {
  en: {
    // Translation
    placeholder: "Type or paste text", text: "Text", translation: "Translation", clear: "Clear text",
    copy: "Copy", copied: "Copied", shade: "Shade uncertain words", look: "Look inside",
    alternatives: "Alternative translations", problems: "Please check",
    count: (characters, limit) => `${characters.toLocaleString("en")} / ${limit.toLocaleString("en")}`,
    tooLong: (limit) => `The text is too long: at most ${counted(limit, "character")}. Translate it in parts or as a file.`,
    hint: "Click a word for alternatives.",
    // Languages
    from: "Source language", to: "Target language", auto: "Detect language", swap: "Swap languages",
    detected: (name) => `${name} (detected)`,
    detection: (name, percent) => `Detected: ${name} (${percent}% confidence)`,
    unsure: (name, percent) => `Possibly ${name} (${percent}% confidence). Choose the source language if this is wrong.`,
    inTarget: (name, percent) => `The text is already in ${name} (${percent}% confidence).`,
    undetected: "The language cannot be detected. Choose the source language.",
    unsupported: (name, percent) => `This looks like ${name} (${percent}% confidence), which this server does not translate.`,
    // Words
    words: "Other words at this position", endOfSentence: "end of sentence", noWords: "There are no other words here.",
    loading: "Loading…", probability: (percent) => `Probability ${percent}`,
    wordLabel: (word, percent) => `${word}, ${percent}`,
    wordChosen: (translation) => `New translation: ${translation}`,
    // Documents
    documents: "Documents", drop: "Drop files here or click to choose", uploading: "Uploading", waiting: "Waiting",
    translating: "Translating", translated: "Translated", download: "Download", cancel: "Cancel", cancelled: "Cancelled",
    remove: "Remove", retry: "Try again", reconnecting: "The server does not respond. Trying again…",
    formats: "Supported file types", unsupportedFile: (suffix) => `This file type is not supported: ${suffix}`,
    lost: "The server no longer has this file.", remaining: (duration) => `about ${duration} left`,
    problemCount: (count) => counted(count, "problem"), unchangedCount: (count) => `${counted(count, "segment")} unchanged`,
    noteCount: (count) => counted(count, "note"),
    more: (count) => `and ${count.toLocaleString("en")} more`,
    fileTooLarge: (megabytes) => `The file is too large: at most ${megabytes} MB.`,
    fileAction: (action, name) => `${action}: ${name}`,
    // Glossaries
    glossary: "Glossary", noGlossary: "No glossary", newGlossary: "New glossary", editGlossary: "Edit glossary",
    edit: "Edit", create: "New", name: "Name", term: (language) => `Term (${language})`,
    termTranslation: (language) => `Translation (${language})`, searchEntries: "Search entries", addEntry: "Add entry",
    deleteTerm: (term) => `Delete entry ${term}`, importEntries: "Import", exportTsv: "Export TSV",
    exportCsv: "Export CSV", deleteGlossary: "Delete", save: "Save", discard: "Discard the changes?",
    confirmDelete: (name) => `Delete the glossary “${name}”?`, entryCount: (count) => counted(count, "entry").replace("entrys", "entries"),
    imported: (count) => `Imported ${counted(count, "row")}. Save to keep them.`,
    nameMissing: "Enter a name.", entriesMissing: "Add at least one entry.",
    cellMissing: "Each entry needs a term and a translation.", repeated: (term) => `The term “${term}” occurs twice.`,
    showMore: "Show more", shared: "All users of this server share its glossaries.", saved: "Glossary saved",
    glossaryLost: "The glossary no longer exists. The text was translated without it.",
    // Keys and errors
    key: "API key", keyRequired: "This server requires an API key.", keyInvalid: "The API key is not valid.",
    unreachable: "The server does not respond.", busy: "The server is busy. Please try again shortly.",
    tooManyRequests: "Too many requests. Please wait a moment.", quota: "This month's quota of the API key is used up.",
    serverError: "The server had an internal error.", rejected: (reason) => reason,
    refused: (status) => `The request was rejected (HTTP ${status}).`,
    // Page
    theme: "Switch between light and dark theme", history: "History", clearHistory: "Clear history",
    deleteEntry: "Delete this entry", privacy: "Stored in this browser only.", docs: "API documentation",
    openapi: "Machine-readable description:", required: "required", defaultValue: (value) => `default: ${value}`,
  },
  ko: {
    placeholder: "번역할 텍스트를 입력하거나 붙여 넣으세요", text: "원문", translation: "번역문", clear: "텍스트 지우기",
    copy: "복사", copied: "복사했습니다", shade: "불확실한 단어 강조", look: "모델 들여다보기",
    alternatives: "다른 번역", problems: "확인이 필요한 부분",
    count: (characters, limit) => `${characters.toLocaleString("ko")} / ${limit.toLocaleString("ko")}`,
    tooLong: (limit) => `텍스트가 너무 깁니다. 최대 ${limit.toLocaleString("ko")}자까지 번역할 수 있습니다. 나누어 번역하거나 파일로 번역하세요.`,
    hint: "단어를 클릭하면 다른 표현을 볼 수 있습니다.",
    from: "출발 언어", to: "도착 언어", auto: "언어 감지", swap: "출발 언어와 도착 언어 바꾸기",
    detected: (name) => `${name} (감지됨)`,
    detection: (name, percent) => `감지된 언어: ${name} (신뢰도 ${percent}%)`,
    unsure: (name, percent) => `${name}일 수 있습니다(신뢰도 ${percent}%). 아니라면 출발 언어를 직접 선택하세요.`,
    inTarget: (name, percent) => `이미 ${name}로 된 텍스트입니다(신뢰도 ${percent}%).`,
    undetected: "언어를 감지할 수 없습니다. 출발 언어를 직접 선택하세요.",
    unsupported: (name, percent) => `${name}로 보입니다(신뢰도 ${percent}%). 이 서버는 이 언어를 번역하지 않습니다.`,
    words: "이 자리에 올 수 있는 다른 단어", endOfSentence: "문장 끝", noWords: "이 자리에 올 수 있는 다른 단어가 없습니다.",
    loading: "불러오는 중…", probability: (percent) => `확률 ${percent}`,
    wordLabel: (word, percent) => `${word}, ${percent}`,
    wordChosen: (translation) => `새 번역: ${translation}`,
    documents: "문서", drop: "파일을 끌어다 놓거나 클릭해서 선택하세요", uploading: "업로드 중", waiting: "대기 중",
    translating: "번역 중", translated: "번역 완료", download: "다운로드", cancel: "취소", cancelled: "취소됨",
    remove: "삭제", retry: "다시 시도", reconnecting: "서버가 응답하지 않습니다. 다시 시도하는 중…",
    formats: "지원하는 파일 형식", unsupportedFile: (suffix) => `지원하지 않는 파일 형식입니다: ${suffix}`,
    lost: "서버에 이 파일이 더 이상 없습니다.", remaining: (duration) => `약 ${duration} 남음`,
    problemCount: (count) => `문제 ${count.toLocaleString("ko")}건`,
    unchangedCount: (count) => `원문과 같은 부분 ${count.toLocaleString("ko")}곳`,
    noteCount: (count) => `참고 사항 ${count.toLocaleString("ko")}건`,
    more: (count) => `외 ${count.toLocaleString("ko")}건`,
    fileTooLarge: (megabytes) => `파일이 너무 큽니다. 최대 ${megabytes}MB까지 번역할 수 있습니다.`,
    fileAction: (action, name) => `${name} ${action}`,
    glossary: "용어집", noGlossary: "용어집 사용 안 함", newGlossary: "새 용어집", editGlossary: "용어집 편집",
    edit: "편집", create: "새로 만들기", name: "이름", term: (language) => `용어(${language})`,
    termTranslation: (language) => `번역(${language})`, searchEntries: "용어 검색", addEntry: "용어 추가",
    deleteTerm: (term) => `용어 ${term} 삭제`, importEntries: "가져오기", exportTsv: "TSV로 내보내기",
    exportCsv: "CSV로 내보내기", deleteGlossary: "삭제", save: "저장", discard: "변경한 내용을 버릴까요?",
    confirmDelete: (name) => `“${name}” 용어집을 삭제할까요?`, entryCount: (count) => `용어 ${count.toLocaleString("ko")}개`,
    imported: (count) => `${count.toLocaleString("ko")}개 행을 가져왔습니다. 저장해야 반영됩니다.`,
    nameMissing: "이름을 입력하세요.", entriesMissing: "용어를 하나 이상 추가하세요.",
    cellMissing: "용어와 번역을 모두 입력하세요.", repeated: (term) => `“${term}” 용어가 두 번 나옵니다.`,
    showMore: "더 보기", shared: "이 서버의 모든 사용자가 용어집을 함께 사용합니다.", saved: "용어집을 저장했습니다",
    glossaryLost: "용어집이 더 이상 없어 용어집 없이 번역했습니다.",
    key: "API 키", keyRequired: "이 서버를 사용하려면 API 키가 필요합니다.", keyInvalid: "API 키가 올바르지 않습니다.",
    unreachable: "서버가 응답하지 않습니다.", busy: "서버가 바쁩니다. 잠시 후 다시 시도하세요.",
    tooManyRequests: "요청이 너무 많습니다. 잠시 기다려 주세요.", quota: "이 API 키의 이번 달 사용량을 모두 썼습니다.",
    serverError: "서버에서 내부 오류가 발생했습니다.", rejected: (reason) => `서버가 요청을 거부했습니다: ${reason}`,
    refused: (status) => `요청이 거부되었습니다(HTTP ${status}).`,
    theme: "밝은 테마와 어두운 테마 전환", history: "번역 기록", clearHistory: "기록 모두 삭제",
    deleteEntry: "이 기록 삭제", privacy: "이 브라우저에만 저장됩니다.", docs: "API 문서",
    openapi: "기계가 읽을 수 있는 명세:", required: "필수", defaultValue: (value) => `기본값: ${value}`,
  },
};

const preferred = browserStore.get("locale");
let locale = preferred in MESSAGES ? preferred : navigator.language.startsWith("ko") ? "ko" : "en";

/** Returns whether the page is in Korean. */
export const isKorean = () => locale === "ko";

/** Returns a message by name; some take values. */
export function message(name, ...values) {
  const text = MESSAGES[locale][name];
  return typeof text === "function" ? text(...values) : text;
}

/** Returns a message for a failed request; a reason that only the server knows is in its words. */
export function errorMessage(error) {
  const { status } = error;
  if (isUnreachable(error)) return message("unreachable");
  if (status === 403) return message(browserStore.get("key") ? "keyInvalid" : "keyRequired");
  const named = { 429: "tooManyRequests", 456: "quota", 500: "serverError", 503: "busy" }[status];
  if (named) return message(named);
  return error.message ? message("rejected", error.message) : message("refused", status); // a proxy has no message
}

/** Returns a probability in percent. */
export function percent(probability) {
  return probability > 0 && probability < 0.01 ? "<1%" : `${Math.round(100 * probability)}%`;
}

/** Returns a duration in the largest fitting unit. */
export function duration(seconds) {
  const [unit, size] = seconds < 90 ? ["second", 1] : seconds < 5400 ? ["minute", 60] : ["hour", 3600];
  const format = new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "long", maximumFractionDigits: 0 });
  return format.format(seconds / size);
}

/** Returns a language's name in the page's locale. */
export function languageName(code, fallback = code) {
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
  browserStore.set("locale", locale);
}
