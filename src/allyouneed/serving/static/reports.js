// Korean texts of what the server reports in English: problems, notes and positions in documents.

import { element } from "./dom.js";
import { isKorean } from "./messages.js";

const KOREAN = [
  // Problems of a translation
  [/^The model repeated itself; this translation was made with repetitions forbidden\.$/,
    "모델이 같은 말을 되풀이하여 반복을 금지하고 다시 번역했습니다."],
  [/^The translation repeats itself\.$/, "번역문에서 같은 말이 되풀이됩니다."],
  [/^There is nothing to translate, so “(.*)” is missing\.$/s, "번역할 내용이 없어 다음이 빠졌습니다: “$1”"],
  [/^The position of “(.*)” in the translation is uncertain\.$/s, "번역문에서 위치가 불확실합니다: “$1”"],
  [/^The translation contains “(.*)”, which the source lacks\.$/s, "원문에 없는 내용이 번역문에 있습니다: “$1”"],
  [/^“(.*)” is unchanged in the translation\.$/s, "원문 그대로입니다: “$1”"],
  [/^“(.*)” is missing in the translation, because of its prefix\.$/s, "앞부분을 정해 두어 다음이 빠졌습니다: “$1”"],
  [/^the translation has (\d+) characters, and the document allows (\d+)$/,
    "번역문은 $1자인데 문서가 허용하는 길이는 $2자입니다."],
  // Notes on documents
  [/^the encoding seems to be (.*); if letters are wrong, convert the file to UTF-8 first$/,
    "인코딩이 $1인 것으로 보입니다. 글자가 깨졌으면 먼저 파일을 UTF-8로 변환하세요."],
  [/^line ([\d,]+) is kept as it is$/, "$1번째 줄은 그대로 두었습니다."],
  [/^line ([\d,]+): a tag does not end; the rest of the document is kept as it is$/,
    "$1번째 줄의 태그가 끝나지 않아 나머지 문서를 그대로 두었습니다."],
  [/^“(.*)” is no time, and is kept as it is$/s, "올바른 시간이 아니어서 그대로 두었습니다: “$1”"],
  [/^([\d,]+) values that are identifiers, paths or addresses are not translated\.$/,
    "식별자, 경로 또는 주소인 값 $1개는 번역하지 않습니다."],
  [/^Translated columns: (.*)\. Choose others with --columns\.$/s, "번역한 열: $1"],
  [/^No column is translated\. Choose others with --columns\.$/, "번역한 열이 없습니다."],
  [/^The source language of the file is (.*), and the model translates (.*)\.$/,
    "파일의 출발 언어는 $1인데, 모델의 출발 언어는 $2입니다."],
  [/^([\d,]+) units have no text in the source language\.$/, "출발 언어의 텍스트가 없는 단위가 $1개 있습니다."],
  [/^comments are not translated \(([\d,]+)\)$/, "메모 $1개는 번역하지 않습니다."],
  [/^embedded documents, such as the tables of charts, are not translated \(([\d,]+)\)$/,
    "차트의 표처럼 문서에 삽입된 문서 $1개는 번역하지 않습니다."],
  [/^the digital signature does not hold for the translation$/, "디지털 서명은 번역된 문서에 유효하지 않습니다."],
  [/^names of sheets are not translated, because formulas refer to them$/,
    "시트 이름은 수식이 참조하므로 번역하지 않습니다."],
  [/^texts that formulas or tables refer to are not translated: (.*?)(?: and ([\d,]+) more)?$/s,
    (_, texts, more) => `수식이나 표가 참조하는 텍스트는 번역하지 않습니다: ${texts}${more ? ` 외 ${more}개` : ""}`],
  [/^the text is written as an HTML page; (?:.*) are not kept$/,
    "텍스트를 HTML 페이지로 저장했습니다. 그림, 레이아웃, 회전된 텍스트, 쪽 번호, 반복되는 머리글은 옮기지 않습니다."],
  [/^the text is written as a Word document; (?:.*) are not kept$/,
    "텍스트를 Word 문서로 저장했습니다. 그림, 레이아웃, 회전된 텍스트, 쪽 번호, 반복되는 머리글은 옮기지 않습니다."],
];

const KOREAN_POSITIONS = [
  [/^lines ([\d,]*\d) to ([\d,]*\d)/, "$1~$2번째 줄"],
  [/(^|, )line ([\d,]*\d)/, "$1$2번째 줄"],
  [/, column (\d+)$/, ", $1열"],
  [/^page (\d+)$/, "$1쪽"],
  [/^slide (\d+)/, "슬라이드 $1"],
  [/^sheet (.*), cell ([A-Z]+\d+)$/s, "시트 $1, 셀 $2"],
  [/^sheet (.*), (\w+)$/s, "시트 $1, $2"],
  [/(^|, )paragraph (\d+)$/, "$1$2번째 단락"],
  [/ \(unit (.*)\)$/s, " (단위 $1)"],
  [/, image$/, ", 그림"],
  [/, title$/, ", 제목"],
];

/** Returns a list item with what the server reports, in the page's language, after its position in a document. */
export function reportItem(text, where = "") {
  const korean = isKorean() && KOREAN.find(([pattern]) => pattern.test(text));
  const reported = korean ? text.replace(...korean) : text;
  const place = isKorean() ? KOREAN_POSITIONS.reduce((changed, change) => changed.replace(...change), where) : where;
  return element("li", { lang: korean ? "ko" : "en" }, place ? `${place}: ${reported}` : reported);
}
