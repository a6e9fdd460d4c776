// Texts as pairs of English and Korean. Placeholders {0}, {1}, ... are filled by `t`.
const TEXTS = {
  title: ["Comparison of two translators", "번역기 두 개 비교"],
  theme: ["Light or dark theme", "밝은 테마 / 어두운 테마"], language: ["한국어", "English"],
  test: ["{0} sentences of {1}", "{1}의 문장 {0}개"], pair: ["{0} → {1}", "{0} → {1}"],
  scores: ["Scores", "점수"], metric: ["Metric", "지표"], difference: ["B − A", "B − A"], pValue: ["p-value", "p 값"],
  significant: ["significant", "유의함"], notSignificant: ["not significant", "유의하지 않음"],
  lower: ["lower is better", "낮을수록 좋음"], higher: ["higher is better", "높을수록 좋음"],
  scoresNote: ["Below each score: the mean over 1,000 bootstrap resamples of the test set and its 95 % confidence interval. The p-value is the probability of a difference at least this large in this direction if both systems were equally good (sacreBLEU’s paired bootstrap test; a two-sided p-value is about twice as large); a difference with p below 0.05 counts as significant.",
    "점수 아래는 평가 문장을 부트스트랩으로 1,000번 다시 뽑아 구한 평균과 95 % 신뢰 구간입니다. p 값은 두 시스템의 품질이 같다고 가정할 때 이 방향으로 차이가 이만큼 이상 날 확률이며(sacreBLEU의 짝지은 부트스트랩 검정. 양측 p 값은 두 배쯤 큽니다), 0.05보다 작으면 유의한 차이로 봅니다."],
  signatures: ["Signatures", "서명"],
  sentences: ["Sentences", "문장"], better: ["{0} better", "{0} 우세"], equal: ["equal", "같음"],
  betterNote: ["Sentences by their chrF, in the whole test set", "전체 평가 문장을 문장별 chrF로 나눈 것"],
  search: ["Search", "검색"], searchHint: ["source, reference, A or B", "원문, 참조, A, B"],
  show: ["Show", "표시"], all: ["all", "전체"], differing: ["A and B differ", "A와 B가 다른 문장"],
  sample: ["sample of {0}", "표본 {0}개"],
  sampleNote: [". The sample: {0} sentences at equal distances through the test set, whatever their scores.", ". 표본은 점수와 상관없이 평가 문장 전체에서 같은 간격으로 고른 {0}개입니다."],
  length: ["Words of the source", "원문의 단어 수"], lengthReference: ["Words of the reference", "참조의 단어 수"],
  characters: ["Characters of the source", "원문의 글자 수"], charactersReference: ["Characters of the reference", "참조의 글자 수"],
  anyLength: ["any", "전체"], atMost: ["up to {0}", "{0} 이하"], between: ["{0} to {1}", "{0}~{1}"], atLeast: ["{0} or more", "{0} 이상"],
  measure: ["Measure", "기준"], sort: ["Order", "정렬"],
  byDifference: ["largest difference", "차이가 큰 순"], byA: ["A ahead the most", "A가 가장 앞서는 순"], byB: ["B ahead the most", "B가 가장 앞서는 순"],
  lowA: ["lowest score of A", "A 점수가 낮은 순"], lowB: ["lowest score of B", "B 점수가 낮은 순"],
  byLine: ["order of the test set", "평가 문장 순"], longest: ["longest first", "긴 문장부터"], shortest: ["shortest first", "짧은 문장부터"],
  marks: ["Mark words", "단어 표시"], marksOther: ["A and B differ", "A와 B가 다른 단어"], marksReference: ["not in the reference", "참조와 다른 단어"], marksNone: ["none", "표시 안 함"],
  count: ["{0} of {1} sentences", "문장 {1}개 중 {0}개"], more: ["Show {0} more", "{0}개 더 보기"], none: ["No sentence matches.", "조건에 맞는 문장이 없습니다."],
  kept: ["This page has the {0} sentences that differ most, of {1}, and the sample.", "이 페이지에는 전체 {1}개 문장 중 차이가 가장 큰 {0}개와 표본이 있습니다."],
  line: ["line {0}", "{0}번째 줄"], gap: ["{0}, B − A: {1}", "{0}, B − A: {1}"], source: ["Source", "원문"], reference: ["Reference", "참조"], referenceNumber: ["Reference {0}", "참조 {0}"],
  empty: ["(empty)", "(비어 있음)"], reset: ["Reset", "초기화"],
};
let language = /^ko\b/.test(navigator.language) ? 1 : 0;

function t(key, ...values) {
  return TEXTS[key][language].replace(/\{(\d)\}/g, (_, index) => values[index]);
}

function switchLanguage() { language = 1 - language; }
